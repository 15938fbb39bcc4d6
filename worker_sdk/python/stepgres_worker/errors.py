# Made from common.proto by `make gen`; do not edit.
"""A class for each reason for which a call is refused, below the class of its gRPC status.

    from stepgres_worker.errors import FlowNotFound

Each has the attributes of `RequestError`. What has a reason of a newer server is of the class of its status.
"""

from __future__ import annotations

from ._errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    RequestError,
    ResourceExhausted,
    Unavailable,
)

__all__ = [
    "DatabaseUnavailable",
    "DependencyCycle",
    "Draining",
    "DuplicateDependency",
    "DuplicateStep",
    "FieldInvalid",
    "FieldOutOfRange",
    "FieldRequired",
    "FieldTooLong",
    "FlowExists",
    "FlowHasActiveRuns",
    "FlowNotFound",
    "FlowVersionNotFound",
    "HelloRepeated",
    "HelloRequired",
    "IdempotencyKeyReused",
    "InitialTasksMismatch",
    "InitialTasksOnSingle",
    "InvalidCursor",
    "InvalidHandler",
    "InvalidJson",
    "InvalidPageToken",
    "InvalidSlug",
    "InvalidToken",
    "InvalidUtf8",
    "MapDependencies",
    "NulCharacter",
    "Overloaded",
    "PayloadTooLarge",
    "ProtocolVersion",
    "RunCompleted",
    "RunNotFound",
    "SelfDependency",
    "SessionExpired",
    "SessionTaken",
    "StepExists",
    "StepNotFound",
    "TaskNotFound",
    "TooManyDependencies",
    "TooManyItems",
    "TooManyResults",
    "TooManySteps",
    "TooManyStreams",
    "TypeViolation",
    "UnknownDependency",
    "WorkerSilent",
]


class FieldRequired(InvalidArgument):
    """A required field is missing or empty.

    INVALID_ARGUMENT.
    Remedy: Give the field that the violation names.
    """


class FieldOutOfRange(InvalidArgument):
    """A number lies outside its range.

    INVALID_ARGUMENT.
    Remedy: Use a number within the range that the message tells.
    """


class FieldTooLong(InvalidArgument):
    """A text or a list is longer than allowed.

    INVALID_ARGUMENT.
    Remedy: Shorten the text, or send several calls.
    """


class FieldInvalid(InvalidArgument):
    """A value has the wrong form (a UUID, an enum, a name) or type, or a key is unknown.

    INVALID_ARGUMENT.
    Remedy: Use the form that the message tells.
    """


class NulCharacter(InvalidArgument):
    """A text holds the character U+0000, which PostgreSQL cannot store.

    INVALID_ARGUMENT.
    Remedy: Remove the character, also where JSON writes it as \\u0000.
    """


class InvalidUtf8(InvalidArgument):
    """A payload or a text is not UTF-8.

    INVALID_ARGUMENT.
    Remedy: Encode it as UTF-8.
    """


class InvalidJson(InvalidArgument):
    """A payload is not JSON.

    INVALID_ARGUMENT.
    Remedy: Send one JSON value.
    """


class PayloadTooLarge(InvalidArgument):
    """A payload is larger than its limit.

    INVALID_ARGUMENT.
    Remedy: Store the data elsewhere and send a reference to it.
    """


class InvalidPageToken(InvalidArgument):
    """A page token was not made by this list with these filters.

    INVALID_ARGUMENT.
    Remedy: Send the token of the page before with the same filters, or start from the first page.
    """


class InvalidCursor(InvalidArgument):
    """A watch cursor was not made for this run.

    INVALID_ARGUMENT.
    Remedy: Send the cursor of the last frame of the same run, or none to start with a snapshot.
    """


class InvalidSlug(InvalidArgument):
    """A slug does not match `^[a-zA-Z_][a-zA-Z0-9_]*$`, is longer than 128 characters, or is `run`.

    INVALID_ARGUMENT.
    Remedy: Rename it.
    """


class InvalidHandler(InvalidArgument):
    """A handler's name does not match `^[a-zA-Z_][a-zA-Z0-9_.-]*$` or is longer than 260 characters.

    INVALID_ARGUMENT.
    Remedy: Rename it.
    """


class DuplicateStep(InvalidArgument):
    """Two steps of one flow have the same slug.

    INVALID_ARGUMENT.
    Remedy: Give one of them another slug.
    """


class UnknownDependency(InvalidArgument):
    """A step depends on a step that the flow does not have.

    INVALID_ARGUMENT.
    Remedy: Correct the name, add the step, or drop the dependency.
    """


class DuplicateDependency(InvalidArgument):
    """A step names the same dependency twice.

    INVALID_ARGUMENT.
    Remedy: Drop one of them.
    """


class SelfDependency(InvalidArgument):
    """A step depends on itself.

    INVALID_ARGUMENT.
    Remedy: Drop it.
    """


class DependencyCycle(InvalidArgument):
    """Steps depend on each other in a circle; the message names it.

    INVALID_ARGUMENT.
    Remedy: Drop one of the dependencies that the message lists.
    """


class MapDependencies(InvalidArgument):
    """A map step has more than one dependency.

    INVALID_ARGUMENT.
    Remedy: Put a single step between that joins them into one array.
    """


class InitialTasksOnSingle(InvalidArgument):
    """`initial_tasks` is given for a step that is not a map.

    INVALID_ARGUMENT.
    Remedy: Drop it, or make the step a map.
    """


class TooManySteps(InvalidArgument):
    """The flow has more steps than allowed.

    INVALID_ARGUMENT.
    Remedy: Split the flow, or raise STEPGRES_MAX_STEPS.
    """


class TooManyDependencies(InvalidArgument):
    """A step has more dependencies than allowed.

    INVALID_ARGUMENT.
    Remedy: Join them in stages.
    """


class FlowNotFound(NotFound):
    """No flow has this slug.

    NOT_FOUND.
    Remedy: Create the flow first, or correct the slug.
    """


class FlowVersionNotFound(NotFound):
    """The flow has no such version.

    NOT_FOUND.
    Remedy: Use one of the versions that GetFlow lists, or 0 for the latest.
    """


class StepNotFound(NotFound):
    """The flow has no such step.

    NOT_FOUND.
    Remedy: Use one of the steps that GetRun or GetFlow lists.
    """


class FlowExists(AlreadyExists):
    """The flow exists with another shape; the message lists the differences.

    ALREADY_EXISTS.
    Remedy: Ask for a new version, use another slug, or send the shape that exists.
    """


class StepExists(AlreadyExists):
    """The step exists with another shape; the message lists the differences.

    ALREADY_EXISTS.
    Remedy: Use another slug, or make a new version of the flow.
    """


class FlowHasActiveRuns(FailedPrecondition):
    """The flow still has active runs.

    FAILED_PRECONDITION.
    Remedy: Wait for them, or delete with `force`, which cancels them.
    """


class RunNotFound(NotFound):
    """No run has this id.

    NOT_FOUND.
    Remedy: Check the id; runs go with their flow, and after the retention age.
    """


class TaskNotFound(NotFound):
    """The run has no such task.

    NOT_FOUND.
    Remedy: List the tasks; a step gets its tasks when its dependencies are done.
    """


class IdempotencyKeyReused(AlreadyExists):
    """The idempotency key was used for this flow with another input or version.

    ALREADY_EXISTS.
    Remedy: Use a new key for a new request.
    """


class RunCompleted(FailedPrecondition):
    """The run has completed: nothing of it is left to retry.

    FAILED_PRECONDITION.
    Remedy: Read its output, or start a new run.
    """


class TypeViolation(InvalidArgument):
    """A map step did not get an array.

    INVALID_ARGUMENT for a run input; else the code of the failed run.
    Remedy: Pass an array, or let the step before return one.
    """


class InitialTasksMismatch(InvalidArgument):
    """A map step got an array of another length than its `initial_tasks` promises.

    INVALID_ARGUMENT or a run's code, as TYPE_VIOLATION.
    Remedy: Pass as many items as promised, or drop `initial_tasks`.
    """


class TooManyItems(InvalidArgument):
    """A map step got more items than allowed.

    INVALID_ARGUMENT or a run's code, as TYPE_VIOLATION.
    Remedy: Group the items, or raise STEPGRES_MAX_ITEMS.
    """


class HelloRequired(InvalidArgument):
    """The first frame of a Work stream was not Hello.

    INVALID_ARGUMENT, ends the stream.
    Remedy: Send Hello first.
    """


class HelloRepeated(InvalidArgument):
    """A second Hello came on one stream.

    INVALID_ARGUMENT, ends the stream.
    Remedy: Send Hello once for each stream.
    """


class ProtocolVersion(FailedPrecondition):
    """No protocol version is spoken by both sides.

    FAILED_PRECONDITION, ends the stream.
    Remedy: Update the SDK, or the server.
    """


class TooManyStreams(ResourceExhausted):
    """The coordinator serves as many streams of workers, or watches, as it may.

    RESOURCE_EXHAUSTED, ends the stream.
    Remedy: Connect to another coordinator, or raise STEPGRES_MAX_STREAMS; of watches, STEPGRES_MAX_WATCHES.
    """


class SessionTaken(Aborted):
    """The session was resumed on another stream.

    ABORTED, ends the stream.
    Remedy: Nothing, when the worker itself resumed; else two workers share an instance id.
    """


class SessionExpired(Aborted):
    """The session's lease ran out.

    ABORTED, ends the stream.
    Remedy: Open a new session; its tasks went to others.
    """


class InvalidToken(NotFound):
    """The token was not handed out to this session, or is not a token.

    NOT_FOUND; on an ack: stale.
    Remedy: Drop the result: it belongs to no lease of this session.
    """


class TooManyResults(ResourceExhausted):
    """More unacknowledged results than the session could have leased.

    RESOURCE_EXHAUSTED, ends the stream.
    Remedy: Send each result once and wait for its ack.
    """


class WorkerSilent(DeadlineExceeded):
    """Nothing came from the worker for a whole lease, or it stopped reading.

    DEADLINE_EXCEEDED, ends the stream.
    Remedy: Send heartbeats, and read the stream; in Python a handler may have held the event loop.
    """


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached now; try again.

    UNAVAILABLE.
    Remedy: Try again with backoff; `stepgres doctor` looks at the database.
    """


class Overloaded(ResourceExhausted):
    """The coordinator holds as much as it may; try again.

    RESOURCE_EXHAUSTED.
    Remedy: Try again after the time in RetryInfo, or add a coordinator.
    """


class Draining(Unavailable):
    """The coordinator is shutting down; try another.

    UNAVAILABLE.
    Remedy: Connect again: another coordinator takes over.
    """


#: Reason -> class.
BY_REASON: dict[str, type[RequestError]] = {
    "FIELD_REQUIRED": FieldRequired,
    "FIELD_OUT_OF_RANGE": FieldOutOfRange,
    "FIELD_TOO_LONG": FieldTooLong,
    "FIELD_INVALID": FieldInvalid,
    "NUL_CHARACTER": NulCharacter,
    "INVALID_UTF8": InvalidUtf8,
    "INVALID_JSON": InvalidJson,
    "PAYLOAD_TOO_LARGE": PayloadTooLarge,
    "INVALID_PAGE_TOKEN": InvalidPageToken,
    "INVALID_CURSOR": InvalidCursor,
    "INVALID_SLUG": InvalidSlug,
    "INVALID_HANDLER": InvalidHandler,
    "DUPLICATE_STEP": DuplicateStep,
    "UNKNOWN_DEPENDENCY": UnknownDependency,
    "DUPLICATE_DEPENDENCY": DuplicateDependency,
    "SELF_DEPENDENCY": SelfDependency,
    "DEPENDENCY_CYCLE": DependencyCycle,
    "MAP_DEPENDENCIES": MapDependencies,
    "INITIAL_TASKS_ON_SINGLE": InitialTasksOnSingle,
    "TOO_MANY_STEPS": TooManySteps,
    "TOO_MANY_DEPENDENCIES": TooManyDependencies,
    "FLOW_NOT_FOUND": FlowNotFound,
    "FLOW_VERSION_NOT_FOUND": FlowVersionNotFound,
    "STEP_NOT_FOUND": StepNotFound,
    "FLOW_EXISTS": FlowExists,
    "STEP_EXISTS": StepExists,
    "FLOW_HAS_ACTIVE_RUNS": FlowHasActiveRuns,
    "RUN_NOT_FOUND": RunNotFound,
    "TASK_NOT_FOUND": TaskNotFound,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReused,
    "RUN_COMPLETED": RunCompleted,
    "TYPE_VIOLATION": TypeViolation,
    "INITIAL_TASKS_MISMATCH": InitialTasksMismatch,
    "TOO_MANY_ITEMS": TooManyItems,
    "HELLO_REQUIRED": HelloRequired,
    "HELLO_REPEATED": HelloRepeated,
    "PROTOCOL_VERSION": ProtocolVersion,
    "TOO_MANY_STREAMS": TooManyStreams,
    "SESSION_TAKEN": SessionTaken,
    "SESSION_EXPIRED": SessionExpired,
    "INVALID_TOKEN": InvalidToken,
    "TOO_MANY_RESULTS": TooManyResults,
    "WORKER_SILENT": WorkerSilent,
    "DATABASE_UNAVAILABLE": DatabaseUnavailable,
    "OVERLOADED": Overloaded,
    "DRAINING": Draining,
}
