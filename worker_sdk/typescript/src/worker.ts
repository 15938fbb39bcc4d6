/** The worker: leases tasks over one stream, executes them, and survives whatever happens to the stream. */
import { hostname } from "node:os";

import { Client } from "./client.js";
import { RequestError, StepgresError } from "./errors.js";
import type { AnyFlow } from "./flow.js";
import { Registry, type Handler, type HandlerOptions } from "./handler.js";
import type { JsonValue } from "./json.js";
import { Link } from "./link.js";
import { stderrLogger, type Logger } from "./log.js";
import { Session } from "./session.js";
import { fullJitterMs, sleep } from "./time.js";
import type { ConnectionOptions } from "./transport.js";

/** A stream that lived so long was healthy: the next reconnect begins with the shortest wait again. */
const HEALTHY_MS = 5_000;
/** Longest wait between two tries for as long as a lease lasts after the break: several fall into the grace. */
const RESUMING_CAP_MS = 1_000;
/** The same later, when nothing is left to be saved. */
const CAP_MS = 10_000;
/** Milliseconds between two warnings of the same outage. */
const WARN_EACH_MS = 30_000;
/** Answers to Hello, and to the registration of flows, that no second try will change. */
const FATAL = /^(INVALID_ARGUMENT|ALREADY_EXISTS|FAILED_PRECONDITION|UNAUTHENTICATED|PERMISSION_DENIED|UNIMPLEMENTED)$/;

/** What a worker is. */
export interface WorkerOptions extends ConnectionOptions {
  /** Whose connection it shares, instead of opening its own by `target`, `tls` and `token`. */
  readonly client?: Client;
  /** Registered as by `client.register` before serving; their functions are served. */
  readonly flows?: readonly AnyFlow[];
  /** Most tasks executed at a time, 1-10,000. Default 100. */
  readonly concurrency?: number;
  /** Serve only runs of this scope, up to 128 characters. Default: the common one. */
  readonly scope?: string;
  /** For people, up to 200 characters. Default `<host>:<process id>`. */
  readonly name?: string;
  /** On a stop, how long running handlers may take until they are handed back. Default 30. */
  readonly drainTimeoutS?: number;
  /** How long the tasks wait when the stream breaks, up to the lease. Default: the server's, 2. */
  readonly reconnectGraceS?: number;
  /** Default: lines on standard error. */
  readonly logger?: Logger;
}

/** The same, with the defaults. */
export type Settings = Required<Omit<WorkerOptions, keyof ConnectionOptions>>;

/** Serves handlers: leases their tasks, executes up to `concurrency` at a time, and sends the results. */
export class Worker {
  readonly #options: Settings;
  readonly #ownsClient: boolean;
  readonly #registry = new Registry();
  #session: Session | undefined;
  #ready = deferred();
  /** Aborted when a worker that stops has nothing to wait for any more. */
  #leaving = new AbortController();
  /** Ends the patience of a worker that stops; undefined when it does not. */
  #deadline: NodeJS.Timeout | undefined;
  /** Something has happened to the stream, or the worker is to leave. */
  #wake: () => void = () => undefined;
  /** Tries since a stream was last healthy. */
  #tries = 0;
  /** When the log was last told of the present outage. */
  #warned = -Infinity;

  constructor(options: WorkerOptions = {}) {
    this.#options = {
      flows: [],
      concurrency: 100,
      scope: "",
      name: `${hostname()}:${process.pid}`.slice(0, 200),
      drainTimeoutS: 30,
      reconnectGraceS: 0,
      logger: stderrLogger,
      ...options,
      client: options.client ?? new Client(options),
    };
    this.#ownsClient = !options.client;
    const { concurrency, flows } = this.#options;
    if (!(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 10_000)) {
      throw new TypeError(`concurrency: ${concurrency} is not between 1 and 10,000; give a whole number of tasks`);
    }
    for (const { handlers } of flows) handlers.forEach((handler, name) => this.#registry.add(name, handler));
  }

  /** Names of the handlers it serves. */
  get handlers(): string[] {
    return [...this.#registry.keys()];
  }

  /**
   * Binds a function to the name of a handler.
   *
   *     worker.step<{ run: Order }>("charge", async ({ run }, ctx) => pay(run, ctx.idempotencyKey));
   *
   * @throws TypeError when the name is bound to another function, or the worker serves already.
   */
  step<Input = JsonValue>(name: string, handler: Handler<Input>, options: HandlerOptions = {}): this {
    if (this.#session) throw new TypeError(`handler ${name}: the worker serves already; add handlers before`);
    this.#registry.add(options.flow ? `${options.flow}.${name}` : name, handler as Handler, options);
    return this;
  }

  /**
   * Serves until SIGTERM or SIGINT, then drains; a second signal hands everything back at once.
   *
   * A process whose handlers ignore their `signal` is ended with code 0 when the worker has said Goodbye.
   *
   * @throws what `serve` throws.
   */
  async run(): Promise<void> {
    const stop = (): void => this.stop({ now: this.#deadline !== undefined });
    process.on("SIGTERM", stop).on("SIGINT", stop);
    try {
      const abandoned = await this.serve();
      if (!abandoned) return;
      this.#options.logger.warn(`${abandoned} handlers did not return and are left behind`);
      process.exit(0);
    } finally {
      process.off("SIGTERM", stop).off("SIGINT", stop);
    }
  }

  /**
   * Serves until `stop` is called, then drains.
   *
   * @returns how many handlers were handed back or timed out and have not returned.
   * @throws AlreadyExists when a flow of this worker exists with another shape; RequestError when the coordinator refuses
   *   this worker, such as for a bad handler name; TypeError when it has no handlers or serves already.
   */
  async serve(): Promise<number> {
    if (this.#session) throw new TypeError("this worker serves already");
    if (!this.#registry.size) {
      throw new TypeError("this worker has no handlers: give it a Flow with steps, or use worker.step");
    }
    const session = (this.#session = new Session(this.#options, this.#registry, () => this.#leave()));
    const { signal } = (this.#leaving = new AbortController());
    const flows = [...this.#options.flows];
    let link: Link | undefined;
    try {
      while (!signal.aborted) {
        if (!link || link.ended || session.draining) link = (await this.#connect(session, flows, link)) ?? link;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      session.release();
      await link?.leave();
      clearTimeout(this.#deadline);
      this.#deadline = this.#session = undefined;
      if (this.#ownsClient) this.#options.client.close();
      this.#ready.reject(new StepgresError("the worker ended before a coordinator welcomed it"));
      this.#ready = deferred();
    }
    return session.busy;
  }

  /** Asks a serving worker to stop; `serve` returns when it is done. `now` hands running tasks back. */
  stop({ now = false }: { readonly now?: boolean } = {}): void {
    if (!this.#session) return;
    this.#deadline ??= setTimeout(() => this.#leave(), this.#options.drainTimeoutS * 1000);
    this.#session.stop();
    if (now) this.#leave();
  }

  /** Waits until a coordinator has welcomed the worker; rejects when it ended without that. */
  ready(): Promise<void> {
    return this.#ready.promise;
  }

  // ---------------------------------------------------------------------------------------------------- inside

  #leave(): void {
    this.#leaving.abort();
    this.#wake();
  }

  /**
   * Opens the next stream, again and again with full jitter, and lets the old one go then; undefined when the worker is
   * to leave.
   *
   * @param flows those that are not registered yet.
   */
  async #connect(session: Session, flows: AnyFlow[], old: Link | undefined): Promise<Link | undefined> {
    const { client, logger, name, concurrency } = this.#options;
    const { target } = client.transport;
    const { signal } = this.#leaving;
    const { draining } = session;
    const since = performance.now();
    const pause = (): Promise<void> => {
      const resumable = session.welcome.sessionId.length > 0 && performance.now() - since < session.welcome.leaseMs;
      return sleep(fullJitterMs(this.#tries++, resumable ? RESUMING_CAP_MS : CAP_MS), signal);
    };
    if (!old?.welcomed || draining || since - old.welcomed >= HEALTHY_MS) this.#tries = 0;
    if (old?.ended && !draining) {
      const cause = old.error?.cause ?? old.error?.message ?? "the coordinator closed it";
      this.#warn(
        `the connection to ${target} is lost (${cause}); connecting again. ${session.leases.size} running tasks go on, ` +
          "and results are kept until they can be sent",
      );
      await pause();
    }
    while (!signal.aborted) {
      try {
        // Tried once at a time: the client's own patience would hide an outage from the log.
        for (; flows[0]; flows.shift()) await client.register(flows[0], { retry: false, signal });
        const link = new Link(await client.transport.openWork(), session, () => this.#wake());
        old?.supersede();
        await link.open(signal);
        old?.close();
        const tasks = session.welcome.resumed ? "its tasks go on" : `up to ${concurrency} tasks at a time`;
        logger.info(`worker ${name} is connected to ${target} (coordinator ${session.welcome.coordinator}); ${tasks}`);
        this.#warned = -Infinity;
        this.#ready.resolve();
        return link;
      } catch (error) {
        old?.restore();
        if (signal.aborted) break;
        if (!(error instanceof StepgresError) || (error instanceof RequestError && FATAL.test(error.code))) throw error;
        this.#warn(`${error.message} Trying again until one answers.`);
        await pause();
      }
    }
    return undefined;
  }

  /** Tells of an outage, not too often. */
  #warn(text: string): void {
    if (performance.now() - this.#warned < WARN_EACH_MS) return;
    this.#warned = performance.now();
    this.#options.logger.warn(`worker ${this.#options.name}: ${text}`);
  }
}

/** `Promise.withResolvers`, which Node 20 does not have. */
function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve = (): void => undefined;
  let reject = (_: Error): void => undefined;
  const promise = new Promise<void>((...settle) => ([resolve, reject] = settle));
  promise.catch(() => undefined); // where nobody waits
  return { promise, resolve, reject };
}
