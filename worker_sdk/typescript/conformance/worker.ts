/**
 * The worker that `stepgres conformance` judges this SDK by.
 *
 * STEPGRES_TARGET: the coordinator. STEPGRES_CONFORMANCE_CONCURRENCY: tasks at a time (10). STEPGRES_CONFORMANCE_DIR: a
 * folder for files. STEPGRES_CONFORMANCE_HANDLERS: names of the handlers to serve, separated by commas (all); a name that is
 * not in the table does nothing and returns null, so that a benchmark can measure the SDK alone.
 */
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { TaskError, Worker, type Handler, type HandlerOptions, type JsonValue } from "../src/index.js";

type Conform = Handler<JsonValue>;

const folder = process.env["STEPGRES_CONFORMANCE_DIR"] ?? ".";
let executed = 0;

/** Appends a line, with one write. */
function note(line: string): void {
  appendFileSync(join(folder, "log"), `${line}\n`, { flag: "a" });
}

const planned = (code: string, options: { retryable?: boolean; retryAfterS?: number } = {}): TaskError =>
  new TaskError("as planned", { code, ...options });

const handlers: Record<string, readonly [description: string, handler: Conform, options?: HandlerOptions]> = {
  echo: ["Returns its input.", (input) => input],
  params: ["Returns its params.", (_, ctx) => ctx.params, { paramsSchema: { type: "object" } }],
  fail_then_succeed: [
    "Fails as often as its params say, then returns its attempt.",
    (_, ctx) => {
      if (ctx.attempt <= Number(ctx.params["times"] ?? 0)) throw planned("PLANNED");
      return { attempt: ctx.attempt };
    },
  ],
  non_retryable: [
    "Fails for good.",
    () => {
      throw planned("NO_RETRY", { retryable: false });
    },
  ],
  retry_after: [
    "Fails once and says when to try again.",
    (_, ctx) => {
      if (ctx.attempt === 1) throw planned("LATER", { retryAfterS: Number(ctx.params["retry_after_s"] ?? 0) });
      return { attempt: ctx.attempt };
    },
  ],
  raise_error: [
    "Throws an ordinary error.",
    () => {
      throw new Error("boom");
    },
  ],
  sleep: [
    "Waits without holding up others.",
    async (_, ctx) => {
      const seconds = ctx.params["seconds"] ?? 0;
      await delay(Number(seconds) * 1000, undefined, { signal: ctx.signal });
      return { slept: seconds };
    },
  ],
  sleep_until_cancelled: [
    "Waits until it is cancelled.",
    async (_, ctx) => {
      try {
        await delay(60_000, undefined, { signal: ctx.signal });
      } catch (error) {
        note(`cancelled ${ctx.idempotencyKey}`);
        throw error;
      }
      return null;
    },
  ],
  progress: [
    "Reports that it is half way.",
    async (_, ctx) => {
      ctx.progress(0.5, "half way");
      await delay(Number(ctx.params["seconds"] ?? 0) * 1000, undefined, { signal: ctx.signal });
      return null;
    },
  ],
  big: ["Returns as many letters as its params say.", (_, ctx) => "x".repeat(Number(ctx.params["bytes"] ?? 0))],
  run_input: [
    "Asks for the input of the run and returns its length.",
    async (_, ctx) => {
      const input = await ctx.runInput();
      return Array.isArray(input) ? input.length : null;
    },
  ],
  count: [
    "Counts its executions in this process.",
    (_, ctx) => {
      note(`count ${ctx.idempotencyKey}`);
      return ++executed;
    },
  ],
  invalid_output: ["Returns what is not JSON.", () => NaN],
  crash: [
    "Ends the process once.",
    () => {
      const mark = join(folder, "crashed");
      if (existsSync(mark)) return { crashed: true };
      writeFileSync(mark, "");
      process.exit(70);
    },
  ],
};

const names = process.env["STEPGRES_CONFORMANCE_HANDLERS"]?.split(",").filter(Boolean) ?? Object.keys(handlers);
const worker = new Worker({ concurrency: Number(process.env["STEPGRES_CONFORMANCE_CONCURRENCY"] ?? 10) });
for (const name of names) {
  const [description, handler, options] = handlers[name] ?? ["Does nothing.", () => null];
  worker.step(name, handler, { ...options, description });
}
await worker.run();
