/** From what a handler did to what is sent: an output as JSON, a failure, or the task handed back. */
import { inspect } from "node:util";

import { TaskError } from "./errors.js";
import type { Failed, Result } from "./gen/stepgres/v1/worker.js";
import type { Entry } from "./handler.js";
import { stringifyJson } from "./json.js";

/** What became of a task. */
export type Outcome = NonNullable<Result["outcome"]>;
/** What became of a task that failed. */
export type Failure = Extract<Outcome, { $case: "failed" }>;

/** Handed back unexecuted. */
export const RELEASED: Outcome = { $case: "released", value: {} };
/** No failure has more bytes. */
export const MAX_FAILURE_BYTES = 16 * 1024;

const MESSAGE_BYTES = 8 * 1024;
const STACK_BYTES = 4 * 1024;
const MAX_RETRY_AFTER_MS = 604_800_000;
/** Frames of a stack from here on tell how the worker came to call the handler. */
const OWN_FRAMES = new URL("./context.js", import.meta.url).href;

/** A return value as JSON, or the failure that says why it is none. */
export function completed(value: unknown, maxBytes: number): Outcome {
  let output: Buffer;
  try {
    output = Buffer.from(stringifyJson(value));
  } catch (error) {
    return failure("INVALID_OUTPUT", `the handler returned what is not JSON: ${textOf(error)}`, false);
  }
  if (output.length <= maxBytes) return { $case: "completed", value: { output } };
  const message = `the output has ${output.length} bytes, allowed are ${maxBytes}; store it elsewhere and return a reference`;
  return failure("OUTPUT_TOO_LARGE", message, false);
}

/** What a handler has thrown, as the failure of its task. */
export function failed(thrown: unknown, { nonRetryable = [] }: Entry): Failure {
  const told = thrown instanceof TaskError ? thrown : undefined;
  const retryable = told?.retryable !== false && !nonRetryable.some((kind) => thrown instanceof kind);
  const code = head(String(told?.code || "HANDLER_ERROR"), 128);
  const details = told && told.cause === undefined ? "" : stackOf(thrown);
  return failure(code, told ? told.message : textOf(thrown), retryable, details, told?.retryAfterS);
}

/** The handler took too long. */
export function timedOut(timeoutS: number): Failure {
  return failure("TIMEOUT", `the handler took longer than ${timeoutS} s`, true);
}

function failure(code: string, message: string, retryable: boolean, details = "", retryAfterS?: number): Failure {
  const value: Failed = { code, message: head(message, MESSAGE_BYTES), details, nonRetryable: !retryable };
  if (retryAfterS !== undefined && !Number.isNaN(retryAfterS)) {
    value.retryAfterMs = Math.round(Math.min(Math.max(0, retryAfterS * 1000), MAX_RETRY_AFTER_MS));
  }
  return { $case: "failed", value };
}

/** `Type: text` of anything that can be thrown. */
function textOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `${typeof thrown}: ${typeof thrown === "string" ? thrown : inspect(thrown)}`;
  const type = thrown.name === "Error" ? thrown.constructor.name : thrown.name;
  return thrown.message ? `${type}: ${thrown.message}` : type;
}

/** The stack down to the handler, and those of its causes. */
function stackOf(thrown: unknown): string {
  const stacks: string[] = [];
  for (let error = thrown; error instanceof Error && stacks.length < 5; error = error.cause) {
    const lines = (error.stack ?? String(error)).split("\n");
    const end = lines.findIndex((line) => line.includes(OWN_FRAMES));
    stacks.push(lines.slice(0, end < 0 ? undefined : end).join("\n"));
  }
  return head(stacks.join("\ncaused by "), STACK_BYTES);
}

/** The first bytes of a text; what no message may hold is replaced. */
function head(text: string, bytes: number): string {
  const clean = text.replaceAll("\0", "\u{FFFD}").toWellFormed();
  return new TextDecoder().decode(Buffer.from(clean).subarray(0, bytes), { stream: true });
}
