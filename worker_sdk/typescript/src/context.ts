/** A leased task in the hands of its handler: what the handler sees of it, and how it is executed. */
import { StepType } from "./gen/stepgres/v1/common.js";
import type { LeasedTask } from "./gen/stepgres/v1/worker.js";
import type { Entry } from "./handler.js";
import { decodePayload, parseJson, type JsonValue } from "./json.js";
import { withFields, type Logger } from "./log.js";
import * as outcome from "./outcome.js";
import type { Session } from "./session.js";
import { MAX_DELAY_MS } from "./time.js";

const MESSAGE_CHARACTERS = 200;

/** What an execution is made of. */
class Lease {
  /** @internal */
  constructor(
    /** @internal */
    readonly task: LeasedTask,
    /** @internal Its token as a key. */
    readonly key: string,
    /** @internal */
    readonly entry: Entry,
    /** @internal */
    readonly session: Session,
  ) {}
}

/** The second argument of a handler: which task it executes, and what it may tell about it. */
export class TaskContext extends Lease {
  /** UUID of the run. */
  readonly runId = this.task.runId;
  /** Slug of the flow. */
  readonly flow = this.task.flow;
  /** Version of the flow. */
  readonly version = this.task.version;
  /** Slug of the step. */
  readonly step = this.task.step;
  /** 0 for a single step, the element's index for a map. */
  readonly index = this.task.taskIndex;
  /** From 1: failures and timeouts so far, plus 1. */
  readonly attempt = this.task.attempt;
  /** Name of the handler. */
  readonly handler = this.task.handler;
  /** Scope of the run; empty for the common one. */
  readonly scope = this.task.scope;
  /** W3C trace context of the run; empty without one. */
  readonly traceparent = this.task.traceparent;
  /** `<run id>:<step>:<index>`, the same for every attempt: use it towards other systems. */
  readonly idempotencyKey = `${this.runId}:${this.step}:${this.index}`;
  /** When this attempt times out. */
  readonly deadline = new Date(Date.now() + this.task.timeoutS * 1000);
  /** A client on the worker's connection. */
  readonly client = this.session.options.client;
  /** True when nobody wants the result any more: the run ended, the lease is lost, or the time is up. */
  cancelled = false;
  /** @internal What the handler has thrown, for the worker's log. */
  thrown: unknown;
  #controller: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #received = performance.now();

  /** Seconds until the deadline; negative after it. */
  get remainingS(): number {
    return this.task.timeoutS - (performance.now() - this.#received) / 1000;
  }

  /** Aborted when `cancelled` becomes true: hand it to `fetch`, timers and child processes. */
  get signal(): AbortSignal {
    // Made at first use: most handlers never look at it, and it costs more than all else of a task.
    this.#controller ??= new AbortController();
    if (this.cancelled) this.#controller.abort();
    return this.#controller.signal;
  }

  /** The step's constants, decoded at each access; `{}` without any. */
  get params(): Readonly<Record<string, JsonValue>> {
    return (decodePayload(this.task.params) ?? {}) as Record<string, JsonValue>;
  }

  /** The worker's logger; its lines carry the coordinates of the task. */
  get log(): Logger {
    const { runId, flow, step, index, attempt } = this;
    return withFields(this.session.options.logger, { runId, flow, step, taskIndex: index, attempt });
  }

  /**
   * Tells how far the task is; the last report of a second is sent.
   *
   * @param fraction 0 to 1; what lies outside is clamped.
   * @param message for people, cut at 200 characters.
   */
  progress(fraction: number, message = ""): void {
    const text = [...message].slice(0, MESSAGE_CHARACTERS).join("").replaceAll("\0", " ");
    this.session.progress(this, Math.min(1, Math.max(0, fraction)), text);
  }

  /**
   * The input of the run, which a map's tasks do not carry; asked for once per run and worker.
   *
   * @throws NotFound when the lease is not held any more.
   */
  async runInput<Run = JsonValue>(): Promise<Run> {
    const { stepType, input } = this.task;
    if (stepType !== StepType.MAP) return (parseJson(input.toString()) as { run: Run }).run;
    return parseJson((await this.session.inputs.get(this.task)).toString()) as Run;
  }

  /** @internal Calls the handler, and tells the session what became of it. */
  start(): void {
    if (this.remainingS <= 0) this.session.expire(this);
    if (this.cancelled) return this.#finish(outcome.RELEASED);
    let returned: unknown;
    try {
      returned = this.entry.call(parseJson(this.task.input.toString()), this);
    } catch (error) {
      return this.#failed(error);
    }
    if (!isThenable(returned)) return this.#completed(returned);
    this.#watch();
    returned.then(
      (value) => this.#completed(value),
      (error: unknown) => this.#failed(error),
    );
  }

  /** @internal Tells the handler that nobody wants its result any more. */
  cancel(): void {
    this.cancelled = true;
    this.session.reports.delete(this);
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  /** Looks again when the timer rings: Node's hold 24 days, and may ring a bit early. */
  #watch(): void {
    if (this.remainingS <= 0) return this.session.expire(this);
    this.#timer = setTimeout(() => this.#watch(), Math.min(this.remainingS * 1000, MAX_DELAY_MS));
  }

  #completed(value: unknown): void {
    if (this.cancelled) return this.#finish(outcome.RELEASED);
    this.#finish(outcome.completed(value, this.session.welcome.maxOutputBytes || Infinity));
  }

  #failed(error: unknown): void {
    this.thrown = error;
    this.#finish(outcome.failed(error, this.entry));
  }

  #finish(result: outcome.Outcome): void {
    clearTimeout(this.#timer);
    this.session.finish(this, result);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}
