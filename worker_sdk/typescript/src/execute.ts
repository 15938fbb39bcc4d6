/** `client.execute`: a run whose tasks are served by the caller's own process. */
import { createHash, randomBytes } from "node:crypto";

import type { Client } from "./client.js";
import { MissingHandlers } from "./errors.js";
import { Flow, planRequest, type AnyFlow, type PlanLike } from "./flow.js";
import type { StepDefinition } from "./gen/stepgres/v1/flow.js";
import type { Handler } from "./handler.js";
import { stderrLogger, type Logger } from "./log.js";
import type { ResultOptions } from "./run.js";
import { Worker } from "./worker.js";

/** Functions by step slug, or by handler name; annotate their inputs: `({ item }: MapInput<number>) => item * 2`. */
export type StepFunctions = Readonly<Record<string, Handler>>;

/** How a flow is executed, and how long its end is waited for. */
export interface ExecuteOptions extends ResultOptions {
  /** Attaches to the run that this key started, or returns its output. Default: a new run. */
  readonly idempotencyKey?: string;
  /** Default: lines on standard error. */
  readonly logger?: Logger;
}

/** See `Client.execute`. */
export async function execute<Output>(
  client: Client,
  flow: string | AnyFlow | PlanLike,
  input: unknown,
  given: StepFunctions,
  { idempotencyKey = "", logger = stderrLogger, timeoutS, signal }: ExecuteOptions,
): Promise<Output> {
  const coded = flow instanceof Flow ? flow : undefined;
  if (coded) await client.register(coded, { signal });
  const definition = (coded?.slug ?? flow) as string | PlanLike;
  const stored = typeof definition === "string" ? (await client.getFlow(definition, { signal })).flow : undefined;
  const steps = stored
    ? stored.steps.flatMap((step) => step.definition ?? [])
    : planRequest(definition as PlanLike, "plan.").steps;
  const version = stored?.version ?? 0;
  const slug = stored?.slug ?? "plan:"; // the keys of plans are those of all plans, and no flow has this name
  // A scope of its own: random, or derived from the key so that a second caller serves the same run.
  const seed = idempotencyKey ? `${slug}\n${idempotencyKey}` : randomBytes(16);
  const scope = `execute-${createHash("sha256").update(seed).digest("hex").slice(0, 32)}`;
  const worker = new Worker({ client, scope, name: `execute ${slug}`, logger });
  const functions = new Map([...(coded?.handlers ?? []), ...Object.entries(given)]);
  for (const [name, handler] of handlersOf(slug, steps, functions)) worker.step(name, handler);

  const run = await client.startRun(definition, input, { version, idempotencyKey, scope, signal });
  const ended = new AbortController();
  const result = run.result<Output>({ timeoutS, signal: AbortSignal.any([ended.signal, ...(signal ? [signal] : [])]) });
  // A flow without steps ends by itself; a worker ends first only when it failed.
  const serving = steps.length ? worker.serve() : Promise.resolve();
  try {
    return await Promise.race([result, serving.then(() => result)]);
  } finally {
    ended.abort();
    worker.stop({ now: true });
    await Promise.allSettled([result, serving]);
  }
}

/**
 * Functions by handler name, for every step.
 *
 * @throws MissingHandlers when a step has none; TypeError when a function belongs to no step.
 */
function handlersOf(flow: string, steps: StepDefinition[], functions: Map<string, Handler>): [string, Handler][] {
  const names = new Set(steps.flatMap(({ slug, handler }) => [slug, handler]));
  const strange = [...functions.keys()].filter((name) => !names.has(name));
  if (strange.length) {
    const known = steps.map(({ slug }) => slug).join(", ");
    throw new TypeError(`functions: ${flow} has no step ${strange.join(", ")}; its steps are ${known}`);
  }
  const unserved = steps.filter(({ slug, handler }) => !functions.has(slug) && !functions.has(handler));
  const missing = unserved.map(({ slug }) => slug);
  if (missing.length) throw new MissingHandlers(flow, missing);
  // A step of a plan has its own name as that of its handler.
  return steps.map(({ slug, handler }) => [handler || slug, (functions.get(slug) ?? functions.get(handler))!]);
}
