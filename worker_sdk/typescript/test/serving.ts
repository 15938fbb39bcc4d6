/** A worker that serves a coordinator in memory, for one test. */
import { test } from "node:test";

import { Worker, type WorkerOptions } from "../src/index.js";
import { Coordinator, Lines, type Stream } from "./coordinator.js";

export interface Serving {
  readonly coordinator: Coordinator;
  readonly worker: Worker;
  /** The first stream, welcomed. */
  readonly stream: Stream;
  readonly log: Lines;
  /** Resolves when `serve` has returned. */
  readonly served: Promise<number>;
}

/** A test with a worker; `prepare` adds its handlers. Afterwards the worker is stopped and the server closed. */
export function serving(
  title: string,
  prepare: (worker: Worker) => void,
  body: (serving: Serving) => Promise<void>,
  options: WorkerOptions = {},
): void {
  void test(title, { timeout: 20_000 }, async () => {
    using coordinator = await new Coordinator().start();
    const log = new Lines();
    const worker = new Worker({ name: "tested", logger: log, ...options, target: coordinator.target });
    prepare(worker);
    const served = worker.serve();
    served.catch(() => undefined); // looked at below
    try {
      const stream = await coordinator.next();
      await stream.welcome();
      await worker.ready();
      await body({ coordinator, worker, stream, log, served });
    } finally {
      worker.stop({ now: true });
      await served;
    }
  });
}

/** A promise and its resolver. */
export function gate<T = void>(): { readonly opened: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => undefined;
  const opened = new Promise<T>((resolve) => (open = resolve));
  return { opened, open };
}
