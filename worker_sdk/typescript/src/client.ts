/** The client: defines flows; starts, reads, watches, cancels and retries runs. */
import type { MethodDefinition } from "@grpc/grpc-js";

import { DeadlineExceeded, ResourceExhausted, Unavailable } from "./errors.js";
import { execute, type ExecuteOptions, type StepFunctions } from "./execute.js";
import { planRequest, stepDefinition, type AnyFlow, type FlowOptions, type PlanLike, type Step } from "./flow.js";
import { View } from "./gen/stepgres/v1/common.js";
import * as flows from "./gen/stepgres/v1/flow.js";
import * as runs from "./gen/stepgres/v1/run.js";
import { batches } from "./batches.js";
import { encodeInput, type JsonValue } from "./json.js";
import { Run, type RunSnapshot, type WatchOptions } from "./run.js";
import { fullJitterMs, sleep } from "./time.js";
import { MAX_MESSAGE_BYTES, Transport, type ConnectionOptions } from "./transport.js";

const { FlowServiceService: FlowService } = flows;
const { RunServiceService: RunService } = runs;

/** Longest wait between two tries of one call. */
const RETRY_CAP_MS = 2_000;
const RUNS_PER_CALL = 1_000;

export interface ClientOptions extends ConnectionOptions {
  /** Deadline of each call in seconds, retries included; watching and waiting for results have none. Default 30. */
  readonly timeoutS?: number;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Fields of a request beside those that the call names, and what every call takes. */
export type Options<Request, Named extends keyof Request = never> = Readonly<Partial<Omit<Request, Named>>> &
  CallOptions;

/** How a run is started: an idempotency key makes the call safe to repeat, a scope says which workers get its tasks. */
export type StartOptions = Options<runs.StartRunRequest, "definition" | "input">;

/** What to start, for `startRuns`. */
export interface RunSpec extends StartOptions {
  /** Slug of a flow, or a plan that comes along. */
  readonly flow: string | PlanLike;
  /** Anything JSON can hold; bytes are JSON already. Default {}. */
  readonly input?: unknown;
}

/**
 * Calls a coordinator; the connection opens at first use. What calls answer are the contract's messages; `decodePayload`
 * reads their inputs and outputs.
 *
 * Calls that may be repeated are: after UNAVAILABLE and DEADLINE_EXCEEDED, with backoff, until their own deadline.
 */
export class Client {
  /** @internal */
  readonly transport: Transport;
  readonly #timeoutMs: number;

  constructor(options: ClientOptions = {}) {
    this.transport = new Transport(options);
    this.#timeoutMs = (options.timeoutS ?? 30) * 1000;
  }

  /** Closes the connection; a later call opens a new one. */
  close(): void {
    this.transport.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ----------------------------------------------------------------------------------------------- definitions

  /**
   * Creates a flow with all its steps, or without any; the same again changes nothing.
   *
   * @throws InvalidArgument with every violation at once; AlreadyExists when it has another shape, with the differences.
   */
  async createFlow(slug: string, steps: readonly Step[] = [], { signal, ...options }: FlowOptions & CallOptions = {}) {
    return this.call(FlowService.createFlow, planRequest({ ...options, slug, steps }), { signal });
  }

  /** `createFlow` for a flow in code. */
  async register(flow: AnyFlow, options: CallOptions & { readonly retry?: boolean } = {}) {
    const { slug, steps } = flow;
    return this.call(FlowService.createFlow, planRequest({ ...flow.options, slug, steps }), options);
  }

  /** Makes a flow as a plan says: created when new, left alone when it has this shape, else a new version. */
  async applyFlow(plan: PlanLike, { newVersion = true, signal }: CallOptions & { readonly newVersion?: boolean } = {}) {
    return this.call(FlowService.createFlow, { ...planRequest(plan), newVersion }, { signal });
  }

  /**
   * Says everything that is wrong with a plan, and doubtful, each with its remedy and its fix; stores nothing.
   *
   * @param options.inline judge it as `startRun` does when it comes along: without a slug, handlers by default the slugs.
   */
  async validateFlow(plan: PlanLike, { inline = false, signal }: Options<flows.ValidateFlowRequest, "flow"> = {}) {
    return this.call(FlowService.validateFlow, { flow: planRequest(plan), inline }, { signal });
  }

  /**
   * Appends a step to the latest version of a flow; the same again changes nothing. Running runs do not see it.
   *
   * @throws InvalidArgument; NotFound when there is no such flow; AlreadyExists when the step has another shape.
   */
  async addStep(flow: string, slug: string, { signal, ...step }: Omit<Step, "slug"> & CallOptions = {}) {
    return this.call(FlowService.addStep, { flow, step: stepDefinition({ ...step, slug }) }, { signal });
  }

  /** Reads a flow with its steps and the numbers of its versions, by default its latest version. */
  getFlow(flow: string, options: Options<flows.GetFlowRequest, "flow"> = {}) {
    return this.call(FlowService.getFlow, flows.GetFlowRequest.fromPartial({ ...options, flow }), options);
  }

  /** Lists flows by slug, each in its latest version; `View.FULL`: with steps. */
  listFlows(options: Options<flows.ListFlowsRequest> = {}) {
    return this.call(FlowService.listFlows, flows.ListFlowsRequest.fromPartial(options), options);
  }

  /**
   * Deletes a flow with all its versions and runs; returns how many active runs were cancelled.
   *
   * @throws NotFound; FailedPrecondition while it has active runs and `force` is not given.
   */
  async deleteFlow(flow: string, options: Options<flows.DeleteFlowRequest, "flow"> = {}): Promise<number> {
    const { force = false, signal } = options;
    // A second one finds nothing, and might delete a flow that was created in between.
    return (await this.call(FlowService.deleteFlow, { flow, force }, { signal, retry: false })).cancelledRunCount;
  }

  // -------------------------------------------------------------------------------------------- what is served

  /** Lists the handlers that workers serve now, by name and scope: the catalogue. It may be a second old. */
  listHandlers(options: Options<flows.ListHandlersRequest> = {}) {
    return this.call(FlowService.listHandlers, flows.ListHandlersRequest.fromPartial(options), options);
  }

  /** Lists the sessions of workers by name. It may be a second old. */
  listWorkers(options: Options<runs.ListWorkersRequest> = {}) {
    return this.call(RunService.listWorkers, runs.ListWorkersRequest.fromPartial(options), options);
  }

  /** Lists the queues by name, with what waits in them and which of it nobody serves. It may be a second old. */
  listQueues(options: Options<runs.ListQueuesRequest> = {}) {
    return this.call(RunService.listQueues, runs.ListQueuesRequest.fromPartial(options), options);
  }

  // ------------------------------------------------------------------------------------------------------ runs

  /**
   * Starts a run: of a flow, or of a plan that comes along.
   *
   * @param flow slug of the flow, or a plan without slug, queue and newVersion; its steps' handlers are by default their slugs.
   * @param input anything JSON can hold; bytes are JSON already; not given: {}.
   * @throws InvalidArgument; NotFound; AlreadyExists when the key was used with another input, version or plan.
   */
  async startRun(flow: string | PlanLike, input?: unknown, { signal, ...options }: StartOptions = {}): Promise<Run> {
    const retry = Boolean(options.idempotencyKey);
    const request = startRequest({ ...options, flow, input });
    const { run, created } = await this.call(RunService.startRun, request, { retry, signal });
    return new Run(this, run?.runId ?? "", created, run?.flow);
  }

  /** Starts many runs, each accepted or refused on its own; any number, in calls of up to 1,000. */
  async startRuns(specs: Iterable<RunSpec>, { signal }: CallOptions = {}): Promise<runs.StartRunResult[]> {
    const results: runs.StartRunResult[] = [];
    const sizeOf = (request: runs.StartRunRequest): number => runs.StartRunRequest.encode(request).finish().length + 8;
    for (const requests of batches(Array.from(specs, startRequest), sizeOf, RUNS_PER_CALL, MAX_MESSAGE_BYTES / 2)) {
      const retry = requests.every((request) => request.idempotencyKey);
      results.push(...(await this.call(RunService.startRuns, { requests }, { retry, signal })).results);
    }
    return results;
  }

  /**
   * Runs a flow in this process: starts a run, serves its tasks here and nowhere else, and returns its output.
   *
   * The run has a scope of its own, so that no worker takes its tasks and this takes nobody else's. With an
   * `idempotencyKey` it attaches to the run that the key started, or returns that one's output.
   *
   * @param flow slug of a flow; a flow in code, which is registered first and brings its functions; or a plan, as for
   *   `startRun`, of which nothing stays but its run.
   * @param functions by step slug, or by handler name.
   * @returns `{leaf slug: output}`.
   * @throws MissingHandlers when a step has no function, and nothing was started; RunFailed; RunCancelled; WaitTimeout, and
   *   the run goes on.
   */
  execute<Output = Record<string, JsonValue>>(
    flow: string | AnyFlow | PlanLike,
    input?: unknown,
    functions: StepFunctions = {},
    options: ExecuteOptions = {},
  ): Promise<Output> {
    return execute(this, flow, input, functions, options);
  }

  /** A handle for a run; asks nobody whether it exists. */
  run(runId: string): Run {
    return new Run(this, runId, false);
  }

  /** Reads a run with its steps, and with payloads unless `view` is `View.BASIC`. */
  async getRun(
    runId: string,
    { view = View.FULL, signal }: Options<runs.GetRunRequest, "runId"> = {},
  ): Promise<runs.Run> {
    return (await this.call(RunService.getRun, { runId, view }, { signal })).run!;
  }

  /** Lists runs, newest first, without steps; `View.FULL`: with payloads. */
  listRuns(options: Options<runs.ListRunsRequest> = {}) {
    return this.call(RunService.listRuns, runs.ListRunsRequest.fromPartial(options), options);
  }

  /** Lists the tasks of a run by step and index; `View.FULL`: with payloads and attempts. */
  listTasks(runId: string, options: Options<runs.ListTasksRequest, "runId"> = {}) {
    return this.call(RunService.listTasks, runs.ListTasksRequest.fromPartial({ ...options, runId }), options);
  }

  /** Reads a task with input, output and every attempt; index 0 for a single step. */
  async getTask(runId: string, step: string, taskIndex = 0, options: CallOptions = {}): Promise<runs.Task> {
    return (await this.call(RunService.getTask, { runId, step, taskIndex }, options)).task!;
  }

  /** Follows a run to its end: `run(runId).watch(options)`. */
  watch(runId: string, options: WatchOptions = {}): AsyncGenerator<RunSnapshot, void> {
    return this.run(runId).watch(options);
  }

  /** Ends a run: queued tasks go, handlers are told to stop. False when it had ended before. */
  async cancelRun(runId: string, options: Options<runs.CancelRunRequest, "runId"> = {}): Promise<boolean> {
    const { reason = "", signal } = options;
    return (await this.call(RunService.cancelRun, { runId, reason }, { signal })).cancelled;
  }

  /**
   * Lets a failed or cancelled run go on: what is finished stays, the rest starts again with all its attempts.
   *
   * @returns false when it was started already.
   * @throws FailedPrecondition when it has completed.
   */
  async retryRun(runId: string, options: CallOptions = {}): Promise<boolean> {
    return (await this.call(RunService.retryRun, { runId }, options)).retried;
  }

  // ---------------------------------------------------------------------------------------------------- inside

  /** One unary call, repeated while that is safe and the deadline allows. @internal */
  async call<Req, Res>(
    method: MethodDefinition<Req, Res>,
    request: Req,
    { retry = true, signal }: CallOptions & { readonly retry?: boolean } = {},
  ): Promise<Res> {
    const deadline = performance.now() + this.#timeoutMs;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.transport.call(method, request, Math.max(1, deadline - performance.now()), signal);
      } catch (error) {
        // OVERLOADED was not begun, so anything may be tried again; what nobody has answered may have been done already.
        const overloaded = error instanceof ResourceExhausted && error.reason === "OVERLOADED";
        const waitMs = fullJitterMs(attempt, RETRY_CAP_MS);
        if (!overloaded && !(retry && (error instanceof Unavailable || error instanceof DeadlineExceeded))) throw error;
        if (performance.now() + waitMs >= deadline) throw error;
        await sleep(waitMs, signal);
      }
    }
  }
}

function startRequest({ flow, input, version = 0, idempotencyKey = "", scope = "" }: RunSpec): runs.StartRunRequest {
  const definition =
    typeof flow === "string"
      ? { $case: "flow" as const, value: flow }
      : { $case: "plan" as const, value: planRequest(flow, "plan.") };
  return { definition, version, input: encodeInput(input), idempotencyKey, scope };
}
