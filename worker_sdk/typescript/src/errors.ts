/**
 * Every error that the SDK throws.
 *
 *     StepgresError
 *     ├── RequestError              a call was refused: .code .reason .field .violations .metadata; of this class itself when
 *     │                             its code has none of its own, such as INTERNAL
 *     │   ├── InvalidArgument       the request itself is wrong
 *     │   ├── NotFound              the named flow, version, step, run or task does not exist
 *     │   ├── AlreadyExists         it exists with another shape, or the key was used for something else
 *     │   ├── FailedPrecondition    the state of the flow, run or server does not allow it
 *     │   ├── PermissionDenied      the caller may not do this
 *     │   ├── Unauthenticated       the caller is not known
 *     │   ├── ResourceExhausted     a limit of the coordinator; try again later
 *     │   ├── DeadlineExceeded      the call took too long
 *     │   └── Unavailable           no coordinator answers; .cause says why in plain words
 *     ├── RunFailed                 .runId .step .code .reason
 *     ├── RunCancelled              .runId .reason
 *     ├── WaitTimeout               a run has not ended in time; it goes on
 *     ├── MissingHandlers           `execute` has no function for .steps; nothing was started
 *     └── TaskError                 thrown by handlers: .code .retryable .retryAfterS
 */
import type { BadRequest_FieldViolation } from "./gen/google/rpc/error_details.js";

/** Something that stepgres refused or could not do. */
export class StepgresError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** What is wrong with one field of a request: its path, what to do, and an UPPER_SNAKE reason. */
export type FieldViolation = Pick<BadRequest_FieldViolation, "field" | "description" | "reason">;

/** The coordinator refused the call. */
export class RequestError extends StepgresError {
  constructor(
    message: string,
    /** Name of the gRPC status code, such as `NOT_FOUND`. */
    readonly code: string,
    /** A name of the contract's closed list (docs/errors.md); empty when the server gave none. */
    readonly reason = "",
    /** One for each field at fault. */
    readonly violations: readonly FieldViolation[] = [],
    /** Values that the reason speaks of, such as an actual and an allowed size. */
    readonly metadata: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Path of the first field at fault; empty when no field is. */
  get field(): string {
    return this.violations[0]?.field ?? "";
  }
}

/** The request is wrong. */
export class InvalidArgument extends RequestError {}
/** What the request names does not exist. */
export class NotFound extends RequestError {}
/** It exists already and differs. */
export class AlreadyExists extends RequestError {}
/** The state of the system does not allow it. */
export class FailedPrecondition extends RequestError {}
/** The caller may not do this. */
export class PermissionDenied extends RequestError {}
/** The caller is not known. */
export class Unauthenticated extends RequestError {}
/** The coordinator holds as much as it may; try again later. */
export class ResourceExhausted extends RequestError {}
/** The call took longer than its deadline. */
export class DeadlineExceeded extends RequestError {}
/** No coordinator answers; `cause` says why in plain words, or a coordinator said that it cannot serve now. */
export class Unavailable extends RequestError {}

/** The run failed. */
export class RunFailed extends StepgresError {
  constructor(
    /** Id of the run. */
    readonly runId: string,
    /** Slug of the step that failed. */
    readonly step: string,
    /** Code of the failure, such as `HANDLER_ERROR` or the handler's own. */
    readonly code: string,
    /** What the handler said. */
    readonly reason: string,
  ) {
    super(`run ${runId} failed in step ${step || "?"}: ${code}: ${reason}`);
  }
}

/** The run was cancelled. */
export class RunCancelled extends StepgresError {
  constructor(
    /** Id of the run. */
    readonly runId: string,
    /** The reason given with the cancellation; empty without one. */
    readonly reason = "",
  ) {
    super(`run ${runId} was cancelled${reason && `: ${reason}`}`);
  }
}

/** The run has not ended in time; it goes on. */
export class WaitTimeout extends StepgresError {
  constructor(
    /** Id of the run. */
    readonly runId: string,
    seconds: number,
  ) {
    super(`run ${runId} has not ended within ${seconds} s; it goes on`);
  }
}

/** `execute` has no function for some steps; nothing was started. */
export class MissingHandlers extends StepgresError {
  constructor(
    /** Slug of the flow; empty for a plan. */
    readonly flow: string,
    /** Slugs of the steps. */
    readonly steps: readonly string[],
  ) {
    super(`${flow ? `flow ${flow}` : "the plan"}: no function for ${steps.join(", ")}; give one for each step`);
  }
}

/** How a task failed. */
export interface TaskErrorOptions extends ErrorOptions {
  /** UPPER_SNAKE, up to 128 characters; what RunFailed and the run's error carry. Default HANDLER_ERROR. */
  readonly code?: string;
  /** False fails the task for good, whatever attempts are left. Default true. */
  readonly retryable?: boolean;
  /** Seconds until the next attempt, 0 to 604800 (7 days); not given: the step's backoff. */
  readonly retryAfterS?: number;
}

/** Throw it in a handler to say how its task failed. */
export class TaskError extends StepgresError {
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterS: number | undefined;

  constructor(message = "the handler failed", options: TaskErrorOptions = {}) {
    super(message, options);
    this.code = options.code ?? "HANDLER_ERROR";
    this.retryable = options.retryable ?? true;
    this.retryAfterS = options.retryAfterS;
  }
}
