/**
 * The worker's side of the protocol in `worker.proto`, without any I/O: frames in, frames out, state in between.
 *
 * States of a lease: received ─▶ executing (`leases`) ─▶ result kept (`kept`) ─▶ acknowledged (gone).
 * The slot of a task and its lease end independently: a handler that timed out keeps its slot until it returns, although
 * its failure is on its way already; a result that waits for its ack needs no slot.
 */
import { randomBytes } from "node:crypto";

import { batches } from "./batches.js";
import { TaskContext } from "./context.js";
import { TaskError } from "./errors.js";
import * as wire from "./gen/stepgres/v1/worker.js";
import type { Registry } from "./handler.js";
import { RunInputs } from "./inputs.js";
import { MAX_FAILURE_BYTES, RELEASED, timedOut, type Outcome } from "./outcome.js";
import { VERSION } from "./version.js";
import type { Settings } from "./worker.js";

const MAX_ITEMS_PER_FRAME = 500;
/** Frames are cut at this size where the coordinator does not say. */
const CUT_BYTES = 1024 * 1024;
/** Stop asking for tasks when so many results wait for their acks (or twice the concurrency, if that is more). */
const MAX_KEPT = 1_000;
/** Most characters of a failure's message in its line of the log; all of it is in the task's attempts. */
const MAX_SHOWN = 500;
/** Bytes of a result beside its output. */
const OVERHEAD = 512;

/** After so long the event loop may look after other things before more handlers are called. */
const BURST_MS = 10;

/** One worker's session over all its streams. */
export class Session {
  readonly inputs: RunInputs;
  /** Slots in use, also by handlers whose result nobody wants any more. */
  busy = 0;
  /** Executing, by token. */
  readonly leases = new Map<string, TaskContext>();
  /** Results that no ack has answered yet, by token. */
  readonly kept = new Map<string, wire.Result>();
  /** What a heartbeat would tell. */
  readonly reports = new Map<TaskContext, wire.TaskProgress>();
  /** What the last Welcome said. */
  welcome = wire.Welcome.fromPartial({ leaseMs: 15_000, heartbeatMs: 5_000 });
  /** No more tasks are wanted on this stream: its coordinator goes away. */
  draining = false;
  readonly #instanceId = randomBytes(16);
  /** Executions whose handlers have not been called. */
  readonly #queue: TaskContext[] = [];
  /** Keys of results to be sent. */
  #outbox: string[] = [];
  /** Tasks asked for on the present stream and not received yet. */
  #credits = 0;
  #wake: () => void = ignore;
  #beatWanted = false;
  #stopping = false;

  constructor(
    readonly options: Settings,
    private readonly registry: Registry,
    /** Called when nothing is executing or kept any more while stopping. */
    private readonly onIdle: () => void,
  ) {
    this.inputs = new RunInputs(options.client);
  }

  // --------------------------------------------------------------------------------------------------- streams

  /** The first frame of a stream: opens the session, or resumes it with all that is held. */
  hello(): wire.WorkRequest {
    const { name, scope, reconnectGraceS } = this.options;
    return {
      frame: {
        $case: "hello",
        value: {
          worker: name,
          instanceId: this.#instanceId,
          minProtocolVersion: 1,
          maxProtocolVersion: 1,
          sdkLanguage: "typescript",
          sdkVersion: VERSION,
          subscriptions: [this.registry.subscription(scope)],
          sessionId: this.welcome.sessionId,
          heldTokens: this.#held().map(tokenOf),
          reconnectGraceMs: Math.round(reconnectGraceS * 1000),
        },
      },
    };
  }

  /** A stream was welcomed: credits begin anew, and all kept results are sent again. */
  attach(welcome: wire.Welcome, wake: () => void): void {
    if (!welcome.resumed) this.#drop(this.#held(), "their session has ended");
    this.welcome = welcome;
    this.#credits = 0;
    this.draining = false;
    this.#outbox = [...this.kept.keys()];
    this.#wake = wake;
    wake();
  }

  /** The stream that `wake` belongs to is gone: tasks go on, results wait. No-op when it is not the present one. */
  detach(wake: () => void): void {
    if (this.#wake === wake) this.#wake = ignore;
  }

  // ------------------------------------------------------------------------------------------------- frames in

  /** Starts leased tasks; each uses up a credit. */
  receiveTasks(tasks: readonly wire.LeasedTask[]): void {
    const working = this.#queue.length > 0;
    this.#credits = Math.max(0, this.#credits - tasks.length);
    for (const task of tasks) {
      const key = keyOf(task.token);
      if (this.leases.has(key) || this.kept.has(key)) continue;
      const entry = this.registry.get(task.handler);
      if (!entry || this.#stopping) {
        this.#keep(key, RELEASED);
        continue;
      }
      const execution = new TaskContext(task, key, entry, this);
      this.leases.set(key, execution);
      this.#queue.push(execution);
      this.busy += 1;
    }
    if (!working) this.#work();
  }

  /** Forgets what is committed or refused; what was BUSY is sent again later. */
  receiveAcks(acks: readonly wire.Ack[]): void {
    const wake = this.#wake;
    const resend = (key: string): void => {
      if (wake !== this.#wake) return; // a newer stream has sent it already
      this.#outbox.push(key);
      wake();
    };
    for (const { token, verdict, retryAfterMs, reason, message } of acks) {
      const key = keyOf(token);
      if (verdict === wire.AckVerdict.BUSY) {
        setTimeout(resend, retryAfterMs, key);
        continue;
      }
      this.kept.delete(key);
      if (verdict === wire.AckVerdict.REJECTED) this.options.logger.warn(`a result was refused: ${reason}: ${message}`);
    }
    this.#changed();
  }

  /** Stops tasks whose runs have ended or that belong to somebody else now, and forgets their results. */
  receiveStops({ tokens, reason }: wire.CancelTasks | wire.LeaseLost): void {
    this.#drop(tokens.map(keyOf), reason || "their runs have ended, or their leases are lost");
  }

  // --------------------------------------------------------------------------------------------- from executions

  /** A handler has returned and its slot is free. */
  finish(execution: TaskContext, result: Outcome): void {
    this.busy -= 1;
    this.reports.delete(execution);
    if (!execution.cancelled && this.leases.delete(execution.key)) {
      this.#keep(execution.key, result);
      if (result.$case === "failed") this.#tell(execution, result.value);
    }
    this.#wake();
  }

  /** A handler's time is up: its failure goes out now, its slot is free when it returns. */
  expire(execution: TaskContext): void {
    if (!this.leases.delete(execution.key)) return;
    execution.cancel();
    const result = timedOut(execution.task.timeoutS);
    this.#keep(execution.key, result);
    this.#tell(execution, result.value);
  }

  /** Notes how far a task is, for the next heartbeat. */
  progress(execution: TaskContext, fraction: number, message: string): void {
    if (!this.leases.has(execution.key)) return;
    this.reports.set(execution, { token: execution.task.token, fraction, message });
  }

  // -------------------------------------------------------------------------------------------------- stopping

  /** Asks for no more tasks. */
  stop(): void {
    this.#stopping = true;
    this.#changed();
  }

  /** Asks for no more tasks, and hands back everything that is still executing. */
  release(): void {
    this.#stopping = true;
    for (const [key, execution] of this.leases) {
      execution.cancel();
      this.#keep(key, RELEASED);
    }
    this.leases.clear();
  }

  // ------------------------------------------------------------------------------------------------ frames out

  /** Sends a heartbeat with the next frames. */
  beat(): void {
    this.#beatWanted = true;
    this.#wake();
  }

  /** Everything that is to be sent now: results with the slots that are free, a heartbeat if wanted. */
  frames(): wire.WorkRequest[] {
    // What was acknowledged or dropped meanwhile is not kept any more.
    const results = this.#outbox.splice(0).flatMap((key) => this.kept.get(key) ?? []);
    const pieces = batches(results, sizeOf, MAX_ITEMS_PER_FRAME, this.welcome.maxFrameBytes || CUT_BYTES);
    let credits = this.#grant();
    const frames: wire.WorkRequest[] = pieces.map((results, index) => {
      // To each as many as its results have freed: they are recorded and replaced in one transaction.
      const share = index === pieces.length - 1 ? credits : Math.min(credits, results.length);
      credits -= share;
      return { frame: { $case: "resultBatch", value: { results, credits: share } } };
    });
    if (credits) frames.push({ frame: { $case: "creditGrant", value: { credits } } });
    if (this.#beatWanted) {
      this.#beatWanted = false;
      const told = [...this.reports].slice(0, MAX_ITEMS_PER_FRAME);
      for (const [execution] of told) this.reports.delete(execution);
      frames.push({ frame: { $case: "heartbeat", value: { progress: told.map(([, progress]) => progress) } } });
    }
    return frames;
  }

  /** How many credits to grant: never more tasks are asked for than slots are free. */
  #grant(): number {
    const { concurrency } = this.options;
    if (this.#stopping || this.draining || this.kept.size > Math.max(MAX_KEPT, 2 * concurrency)) return 0;
    const free = Math.min(concurrency - this.busy, this.welcome.maxCredits || concurrency);
    const credits = Math.max(0, free - this.#credits);
    this.#credits += credits;
    return credits;
  }

  // ---------------------------------------------------------------------------------------------------- inside

  /** Calls handlers now or, when others take long, in turns of the event loop. */
  #work(): void {
    const end = performance.now() + BURST_MS;
    while (this.#queue.length && performance.now() < end) this.#queue.shift()!.start();
    if (this.#queue.length) setImmediate(() => this.#work());
  }

  /** Keys of all that is executing or kept. */
  #held(): string[] {
    return [...this.leases.keys(), ...this.kept.keys()];
  }

  #keep(key: string, outcome: Outcome): void {
    this.kept.set(key, { token: tokenOf(key), outcome });
    this.#outbox.push(key);
    this.#wake();
  }

  /** One warning for a failed attempt, with the stack unless the handler said it all by TaskError. */
  #tell({ task, thrown }: TaskContext, { code, message, details, nonRetryable }: wire.Failed): void {
    const { runId, flow, step, taskIndex, attempt, handler } = task;
    const verdict = nonRetryable ? "not retryable" : "retryable";
    const stack = thrown instanceof TaskError || !details ? "" : `\n${details}`;
    this.options.logger.warn(
      `${flow}.${step}[${taskIndex}] (handler ${handler}) of run ${runId}: attempt ${attempt} failed, ${verdict}: ` +
        `${code}: ${message.slice(0, MAX_SHOWN)}${stack}`,
      { runId, flow, step, taskIndex, attempt, code },
    );
  }

  #drop(keys: readonly string[], why: string): void {
    let stopped = 0;
    let forgotten = 0;
    for (const key of keys) {
      this.leases.get(key)?.cancel();
      if (this.leases.delete(key)) stopped += 1;
      if (this.kept.delete(key)) forgotten += 1; // nearly always recorded, and only the ack was lost
    }
    if (stopped || forgotten)
      this.options.logger.info(`stopped ${stopped} tasks and dropped ${forgotten} results: ${why}`);
    this.#changed();
  }

  #changed(): void {
    this.#wake();
    if (this.#stopping && !this.leases.size && !this.kept.size) this.onIdle();
  }
}

function ignore(): void {}

/** Bytes of a result, never less than it will have. */
function sizeOf({ outcome }: wire.Result): number {
  return OVERHEAD + (outcome?.$case === "completed" ? outcome.value.output.length : MAX_FAILURE_BYTES);
}

/** A token as a key of maps. */
function keyOf(token: Buffer): string {
  return token.toString("latin1");
}

function tokenOf(key: string): Buffer {
  return Buffer.from(key, "latin1");
}
