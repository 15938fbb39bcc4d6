/** Handles of runs, and the watch that never misses the last state. */
import type { CallOptions, Client } from "./client.js";
import { RunCancelled, RunFailed, Unavailable, WaitTimeout } from "./errors.js";
import { RunStatus, StepStatus, View } from "./gen/stepgres/v1/common.js";
import type { Run as RunMessage, RunChange, WatchRunResponse } from "./gen/stepgres/v1/run.js";
import { decodePayload, type JsonValue } from "./json.js";
import { fullJitterMs, MAX_DELAY_MS, sleep } from "./time.js";

/** Longest wait before a broken watch is opened again. */
const CAP_MS = 5_000;
/** Broken watches in a row after which the caller wants to know: some ten seconds. */
const MAX_TRIES = 6;

/** A run as it stood at one moment of a watch. */
export interface RunSnapshot extends RunMessage {
  /** Resumes a watch after this snapshot. */
  readonly cursor: string;
}

/** How a run is followed; `signal` ends the watch. */
export interface WatchOptions extends CallOptions {
  /** Of a snapshot before: only what changed since follows. Default: begin with a snapshot. */
  readonly cursor?: string;
  /** `View.FULL`: with input and output in the last snapshot. */
  readonly view?: View;
}

/** How long the end of a run is waited for. */
export interface ResultOptions extends CallOptions {
  /** Seconds. Default: for ever. */
  readonly timeoutS?: number | undefined;
}

/** A run, by its id. Make it with `client.startRun(…)` or `client.run(runId)`. */
export class Run {
  /** @internal */
  constructor(
    private readonly client: Client,
    /** UUID of the run. */
    readonly id: string,
    /** True when this call has started it. */
    readonly created: boolean,
    /** Slug of its flow, of a plan `plan:<hash>`; empty when `client.run` made the handle. */
    readonly flow = "",
  ) {}

  /** Reads the run as it stands, with payloads unless `view` is `View.BASIC`. */
  get(options: CallOptions & { readonly view?: View } = {}): Promise<RunMessage> {
    return this.client.getRun(this.id, options);
  }

  /** Ends the run; false when it had ended before. */
  cancel(options: CallOptions & { readonly reason?: string } = {}): Promise<boolean> {
    return this.client.cancelRun(this.id, options);
  }

  /** Lets the run go on that failed or was cancelled; false when it was started already. */
  retry(options: CallOptions = {}): Promise<boolean> {
    return this.client.retryRun(this.id, options);
  }

  /**
   * Follows the run to its end, over broken connections.
   *
   * Yields the run with all its steps, at most ten times a second; the last one is terminal.
   *
   * @throws NotFound when there is no such run; InvalidArgument when the cursor belongs to another one.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<RunSnapshot, void> {
    const { signal, view = View.BASIC } = options;
    let { cursor = "" } = options;
    let run: RunMessage | undefined;
    for (let attempt = 0; !signal?.aborted; attempt++) {
      try {
        // Changes need something to be merged into.
        if (cursor) run ??= await this.client.getRun(this.id, { view: View.BASIC });
        for await (const frame of this.client.transport.watch({ runId: this.id, cursor, view }, signal)) {
          attempt = 0;
          cursor = frame.cursor;
          run = merge(run, frame);
          if (run) yield { ...run, cursor };
          if (frame.frame?.$case === "end") return;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (!(error instanceof Unavailable) || attempt >= MAX_TRIES) throw error;
      }
      // Also when the coordinator closed the stream without an end, as one that shuts down may.
      await sleep(fullJitterMs(attempt, CAP_MS), signal);
    }
  }

  /**
   * Waits for the end and returns the output `{leaf slug: output}`.
   *
   * @throws RunFailed with the step, code and message of the failure; RunCancelled; NotFound; WaitTimeout when it has not
   *   ended in time and goes on; the signal's reason when that was aborted.
   */
  async result<Output = Record<string, JsonValue>>({ timeoutS, signal }: ResultOptions = {}): Promise<Output> {
    const late = timeoutS === undefined ? undefined : AbortSignal.timeout(Math.min(timeoutS * 1000, MAX_DELAY_MS));
    const either = AbortSignal.any([signal, late].filter((one) => one !== undefined));
    let last: RunMessage | undefined;
    for await (const snapshot of this.watch({ view: View.FULL, signal: either })) last = snapshot;
    if (!last || last.status === RunStatus.STARTED) {
      signal?.throwIfAborted();
      throw new WaitTimeout(this.id, timeoutS ?? 0);
    }
    const { status, output, error } = last;
    if (status === RunStatus.COMPLETED) return decodePayload(output) as Output;
    if (status === RunStatus.CANCELLED) throw new RunCancelled(this.id, error?.message);
    throw new RunFailed(this.id, error?.step ?? "", error?.code ?? "UNKNOWN", error?.message ?? "");
  }
}

function merge(base: RunMessage | undefined, { frame }: WatchRunResponse): RunMessage | undefined {
  if (frame?.$case === "change") return base && changed(base, frame.value);
  return frame?.value ?? base;
}

/** A run with a change merged in; a step that is already newer stays. */
function changed(base: RunMessage, { status, revision, steps: changes }: RunChange): RunMessage {
  const known = new Map(base.steps.map((step) => [step.step, step]));
  for (const step of changes) {
    if ((known.get(step.step)?.revision ?? 0) <= step.revision) known.set(step.step, step);
  }
  const steps = [...known.values()].sort((one, other) => one.stepIndex - other.stepIndex);
  const remainingSteps = steps.filter((step) => step.status !== StepStatus.COMPLETED).length;
  if (revision < base.revision) return { ...base, steps, remainingSteps };
  // Only runs that have not ended change: what an end before a retry left behind goes.
  return { ...base, status, revision, steps, remainingSteps, error: undefined, endTime: undefined };
}
