"""What can go wrong, as classes of the domain; `api/status.py` holds the one table from class to gRPC code.

StepgresError
├── InvalidArgument      the request is wrong; every violation at once
├── NotFound             the named flow, version, step, run or task does not exist
├── AlreadyExists        it exists with another shape, or the key was used for something else
├── FailedPrecondition   the state of the flow, run or server does not allow it
├── ResourceExhausted    a limit of this coordinator; try again later or elsewhere
├── Aborted              the session belongs to another stream, or has expired
├── DeadlineExceeded     the peer was silent for too long
├── Unavailable          the database or this coordinator is away; try again
├── Unimplemented        this server does not do that yet
└── SetupError           settings, schema or server are unfit; raised at start, never sent to callers
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Reason(StrEnum):
    """Names of the proto's closed enum ErrorReason, without its prefix; a test holds the two equal."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
        return name

    FIELD_REQUIRED = auto()
    FIELD_OUT_OF_RANGE = auto()
    FIELD_TOO_LONG = auto()
    FIELD_INVALID = auto()
    NUL_CHARACTER = auto()
    INVALID_UTF8 = auto()
    INVALID_JSON = auto()
    PAYLOAD_TOO_LARGE = auto()
    INVALID_PAGE_TOKEN = auto()
    INVALID_CURSOR = auto()
    INVALID_SLUG = auto()
    INVALID_HANDLER = auto()
    DUPLICATE_STEP = auto()
    UNKNOWN_DEPENDENCY = auto()
    DUPLICATE_DEPENDENCY = auto()
    SELF_DEPENDENCY = auto()
    DEPENDENCY_CYCLE = auto()
    MAP_DEPENDENCIES = auto()
    INITIAL_TASKS_ON_SINGLE = auto()
    TOO_MANY_STEPS = auto()
    TOO_MANY_DEPENDENCIES = auto()
    HANDLER_UNSERVED = auto()
    PARAMS_MISMATCH = auto()
    FLOW_NOT_FOUND = auto()
    FLOW_VERSION_NOT_FOUND = auto()
    STEP_NOT_FOUND = auto()
    FLOW_EXISTS = auto()
    STEP_EXISTS = auto()
    FLOW_HAS_ACTIVE_RUNS = auto()
    RUN_NOT_FOUND = auto()
    TASK_NOT_FOUND = auto()
    IDEMPOTENCY_KEY_REUSED = auto()
    RUN_COMPLETED = auto()
    TYPE_VIOLATION = auto()
    INITIAL_TASKS_MISMATCH = auto()
    TOO_MANY_ITEMS = auto()
    OUTPUT_TOO_LARGE = auto()
    TIMEOUT = auto()
    LEASE_LOST = auto()
    HANDLER_ERROR = auto()
    INVALID_OUTPUT = auto()
    HELLO_REQUIRED = auto()
    HELLO_REPEATED = auto()
    PROTOCOL_VERSION = auto()
    TOO_MANY_STREAMS = auto()
    SESSION_TAKEN = auto()
    SESSION_EXPIRED = auto()
    INVALID_TOKEN = auto()
    TOO_MANY_RESULTS = auto()
    WORKER_SILENT = auto()
    DATABASE_UNAVAILABLE = auto()
    OVERLOADED = auto()
    DRAINING = auto()
    NOT_IMPLEMENTED = auto()
    INTERNAL = auto()


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request."""

    #: Path of the field in the request, such as `steps[2].depends_on[0]`.
    path: str
    #: Why it is refused.
    reason: Reason
    #: What is wrong with the value shown, then `; ` and what to do; without the path.
    message: str

    @property
    def hint(self) -> str:
        """What to do, alone."""
        return self.message.rpartition("; ")[2]

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class StepgresError(Exception):
    """Something went wrong in stepgres.

    Args:
        message: for people: what is wrong with the value shown, and what to do.
        reason: why, from the closed list.
        field: path of the field of the request at fault; empty when none is.
        metadata: further facts for programs, sent in ErrorInfo.metadata.
        retry_after_s: when to try again, in seconds; None when trying again does not help.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: Reason = Reason.INTERNAL,
        field: str = "",
        metadata: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.reason = reason
        self.field = field
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self.args[0])


class InvalidArgument(StepgresError):
    """The request is wrong; `violations` has every fault that was found, at least one."""

    def __init__(self, *violations: Violation) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first}{more}", reason=first.reason, field=first.path)
        self.violations = violations


class NotFound(StepgresError):
    """The named thing does not exist."""


class AlreadyExists(StepgresError):
    """It exists with another shape."""


class FailedPrecondition(StepgresError):
    """The present state does not allow it."""


class ResourceExhausted(StepgresError):
    """A limit of this coordinator is reached."""


class Aborted(StepgresError):
    """The session belongs to another stream, or has expired."""


class DeadlineExceeded(StepgresError):
    """The peer was silent for too long."""


class Unavailable(StepgresError):
    """The database or this coordinator is away; try again."""


class Unimplemented(StepgresError):
    """This server does not do that yet."""


class SetupError(StepgresError):
    """Settings, schema or server are unfit to start."""


class SettingsError(SetupError):
    """A setting is missing or wrong."""
