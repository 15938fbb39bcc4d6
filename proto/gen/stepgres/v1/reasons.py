# Made from common.proto by `make gen`; do not edit.
"""Why a call was refused, or a task failed: the contract's closed list of reasons."""

from __future__ import annotations

from enum import StrEnum


class ErrorReason(StrEnum):
    """The words of ErrorReason without their prefix, as `google.rpc.ErrorInfo.reason` carries them.

    They are texts: `error.reason == ErrorReason.FLOW_NOT_FOUND`. A newer server may use words that are not listed here.
    """

    #: A required field is missing or empty. INVALID_ARGUMENT.
    FIELD_REQUIRED = "FIELD_REQUIRED"
    #: A number lies outside its range. INVALID_ARGUMENT.
    FIELD_OUT_OF_RANGE = "FIELD_OUT_OF_RANGE"
    #: A text or a list is longer than allowed. INVALID_ARGUMENT.
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    #: A value has the wrong form (a UUID, an enum, a name) or type, or a key is unknown. INVALID_ARGUMENT.
    FIELD_INVALID = "FIELD_INVALID"
    #: A text holds the character U+0000, which PostgreSQL cannot store. INVALID_ARGUMENT.
    NUL_CHARACTER = "NUL_CHARACTER"
    #: A payload or a text is not UTF-8. INVALID_ARGUMENT.
    INVALID_UTF8 = "INVALID_UTF8"
    #: A payload is not JSON. INVALID_ARGUMENT.
    INVALID_JSON = "INVALID_JSON"
    #: A payload is larger than its limit. INVALID_ARGUMENT.
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    #: A page token was not made by this list with these filters. INVALID_ARGUMENT.
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    #: A watch cursor was not made for this run. INVALID_ARGUMENT.
    INVALID_CURSOR = "INVALID_CURSOR"
    #: A slug does not match `^[a-zA-Z_][a-zA-Z0-9_]*$`, is longer than 128 characters, or is `run`. INVALID_ARGUMENT.
    INVALID_SLUG = "INVALID_SLUG"
    #: A handler's name does not match `^[a-zA-Z_][a-zA-Z0-9_.-]*$` or is longer than 260 characters. INVALID_ARGUMENT.
    INVALID_HANDLER = "INVALID_HANDLER"
    #: Two steps of one flow have the same slug. INVALID_ARGUMENT.
    DUPLICATE_STEP = "DUPLICATE_STEP"
    #: A step depends on a step that the flow does not have. INVALID_ARGUMENT.
    UNKNOWN_DEPENDENCY = "UNKNOWN_DEPENDENCY"
    #: A step names the same dependency twice. INVALID_ARGUMENT.
    DUPLICATE_DEPENDENCY = "DUPLICATE_DEPENDENCY"
    #: A step depends on itself. INVALID_ARGUMENT.
    SELF_DEPENDENCY = "SELF_DEPENDENCY"
    #: Steps depend on each other in a circle; the message names it. INVALID_ARGUMENT.
    DEPENDENCY_CYCLE = "DEPENDENCY_CYCLE"
    #: A map step has more than one dependency. INVALID_ARGUMENT.
    MAP_DEPENDENCIES = "MAP_DEPENDENCIES"
    #: `initial_tasks` is given for a step that is not a map. INVALID_ARGUMENT.
    INITIAL_TASKS_ON_SINGLE = "INITIAL_TASKS_ON_SINGLE"
    #: The flow has more steps than allowed. INVALID_ARGUMENT.
    TOO_MANY_STEPS = "TOO_MANY_STEPS"
    #: A step has more dependencies than allowed. INVALID_ARGUMENT.
    TOO_MANY_DEPENDENCIES = "TOO_MANY_DEPENDENCIES"
    #: No worker serves the handler of a step now. A warning of ValidateFlow.
    HANDLER_UNSERVED = "HANDLER_UNSERVED"
    #: The params of a step do not fit the JSON Schema that their handler tells. A warning of ValidateFlow.
    PARAMS_MISMATCH = "PARAMS_MISMATCH"
    #: No flow has this slug. NOT_FOUND.
    FLOW_NOT_FOUND = "FLOW_NOT_FOUND"
    #: The flow has no such version. NOT_FOUND.
    FLOW_VERSION_NOT_FOUND = "FLOW_VERSION_NOT_FOUND"
    #: The flow has no such step. NOT_FOUND.
    STEP_NOT_FOUND = "STEP_NOT_FOUND"
    #: The flow exists with another shape; the message lists the differences. ALREADY_EXISTS.
    FLOW_EXISTS = "FLOW_EXISTS"
    #: The step exists with another shape; the message lists the differences. ALREADY_EXISTS.
    STEP_EXISTS = "STEP_EXISTS"
    #: The flow still has active runs. FAILED_PRECONDITION.
    FLOW_HAS_ACTIVE_RUNS = "FLOW_HAS_ACTIVE_RUNS"
    #: No run has this id. NOT_FOUND.
    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    #: The run has no such task. NOT_FOUND.
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    #: The idempotency key was used for this flow with another input or version. ALREADY_EXISTS.
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    #: The run has completed: nothing of it is left to retry. FAILED_PRECONDITION.
    RUN_COMPLETED = "RUN_COMPLETED"
    #: A map step did not get an array. INVALID_ARGUMENT for a run input; else the code of the failed run.
    TYPE_VIOLATION = "TYPE_VIOLATION"
    #: A map step got an array of another length than its `initial_tasks` promises. INVALID_ARGUMENT or a run's code, as
    #: TYPE_VIOLATION.
    INITIAL_TASKS_MISMATCH = "INITIAL_TASKS_MISMATCH"
    #: A map step got more items than allowed. INVALID_ARGUMENT or a run's code, as TYPE_VIOLATION.
    TOO_MANY_ITEMS = "TOO_MANY_ITEMS"
    #: An output, the sum of a map's outputs or a step's assembled input is larger than its limit. Code of a task.
    OUTPUT_TOO_LARGE = "OUTPUT_TOO_LARGE"
    #: The handler took longer than the step's timeout. Code of a task.
    TIMEOUT = "TIMEOUT"
    #: The task's worker vanished too often. Code of a task.
    LEASE_LOST = "LEASE_LOST"
    #: The handler failed without a code of its own. Code of a task.
    HANDLER_ERROR = "HANDLER_ERROR"
    #: The handler returned something that is not JSON. Code of a task.
    INVALID_OUTPUT = "INVALID_OUTPUT"
    #: The first frame of a Work stream was not Hello. INVALID_ARGUMENT, ends the stream.
    HELLO_REQUIRED = "HELLO_REQUIRED"
    #: A second Hello came on one stream. INVALID_ARGUMENT, ends the stream.
    HELLO_REPEATED = "HELLO_REPEATED"
    #: No protocol version is spoken by both sides. FAILED_PRECONDITION, ends the stream.
    PROTOCOL_VERSION = "PROTOCOL_VERSION"
    #: The coordinator serves as many streams of workers, or watches, as it may. RESOURCE_EXHAUSTED, ends the stream.
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    #: The session was resumed on another stream. ABORTED, ends the stream.
    SESSION_TAKEN = "SESSION_TAKEN"
    #: The session's lease ran out. ABORTED, ends the stream.
    SESSION_EXPIRED = "SESSION_EXPIRED"
    #: The token was not handed out to this session, or is not a token. NOT_FOUND; on an ack: stale.
    INVALID_TOKEN = "INVALID_TOKEN"
    #: More unacknowledged results than the session could have leased. RESOURCE_EXHAUSTED, ends the stream.
    TOO_MANY_RESULTS = "TOO_MANY_RESULTS"
    #: Nothing came from the worker for a whole lease, or it stopped reading. DEADLINE_EXCEEDED, ends the stream.
    WORKER_SILENT = "WORKER_SILENT"
    #: The database cannot be reached now; try again. UNAVAILABLE.
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    #: The coordinator holds as much as it may; try again. RESOURCE_EXHAUSTED.
    OVERLOADED = "OVERLOADED"
    #: The coordinator is shutting down; try another. UNAVAILABLE.
    DRAINING = "DRAINING"
    #: This server does not do that yet. UNIMPLEMENTED.
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    #: A fault of ours; the message carries an id that our log explains. INTERNAL.
    INTERNAL = "INTERNAL"
