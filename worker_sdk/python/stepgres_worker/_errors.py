"""Every error that the SDK raises; `errors` has a class for each reason, below those of the statuses.

StepgresError
├── RequestError                a call was refused: .code .reason .field .violations
│   ├── InvalidArgument         the request itself is wrong
│   ├── NotFound                the named flow, version, step, run or task does not exist
│   ├── AlreadyExists           it exists with another shape, or the key was used for something else
│   ├── FailedPrecondition      the state of the flow, run or server does not allow it
│   ├── PermissionDenied        the caller may not do this
│   ├── Unauthenticated         the caller is not known
│   ├── ResourceExhausted       a limit of the coordinator; try again later
│   ├── Aborted                 the session belongs to another stream, or has expired
│   ├── DeadlineExceeded        the call took too long; also a TimeoutError
│   ├── Unimplemented           this server does not do that yet
│   ├── Unavailable             no coordinator answers
│   └── InternalError           a fault of the server's; its log explains the id in the message
├── RunFailed                   .run_id .step .code .message
├── RunCancelled                .run_id
├── MissingHandlers             .steps
├── ForkedError                 a client was used on the other side of a fork
├── WrongThreadError            a blocking call on the thread that would have to serve it
└── TaskError                   raised by handlers: .code .retryable .retry_after_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from ._targets import DEFAULT_TARGET, cause_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import grpc

DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "stepgres"
#: Violations that the text of an error tells.
_MAX_TOLD = 20


class StepgresError(Exception):
    """Something that stepgres refused or could not do."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    #: Path in the request, such as `steps[2].depends_on[0]`.
    field: str
    #: What is wrong with it and what to do.
    description: str
    #: UPPER_SNAKE name, such as `UNKNOWN_DEPENDENCY`; empty when the server gave none.
    reason: str = ""


class RequestError(StepgresError):
    """The coordinator refused the call.

    Args:
        message: for people.
        code: name of the gRPC status code, such as `NOT_FOUND`.
        reason: one of `ErrorReason`, or a newer server's word; empty when the server gave none.
        violations: one for each field at fault.
        metadata: values that the reason speaks of, such as an actual and an allowed size.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = metadata or {}

    @property
    def field(self) -> str:
        """Path of the first field at fault; empty when no field is."""
        return self.violations[0].field if self.violations else ""


class InvalidArgument(RequestError):
    """The request is wrong."""


class NotFound(RequestError):
    """What the request names does not exist."""


class AlreadyExists(RequestError):
    """It exists already and differs."""


class FailedPrecondition(RequestError):
    """The state of the system does not allow it."""


class PermissionDenied(RequestError):
    """The caller may not do this."""


class Unauthenticated(RequestError):
    """The caller is not known."""


class ResourceExhausted(RequestError):
    """The coordinator holds as much as it may; try again later."""


class Aborted(RequestError):
    """The call was aborted."""


class DeadlineExceeded(RequestError, TimeoutError):
    """The call took longer than its deadline."""


class Unimplemented(RequestError):
    """The server does not do that."""


class Unavailable(RequestError):
    """No coordinator answers."""

    #: Why, in plain words, such as `connection refused`; empty when a coordinator answered that it cannot serve.
    cause: str = ""


class InternalError(RequestError):
    """The server failed."""


class RunFailed(StepgresError):
    """The run failed.

    Args:
        run_id: id of the run.
        step: slug of the step that failed.
        code: code of the failure, such as `HANDLER_ERROR` or the handler's own.
        message: what the handler said.
    """

    def __init__(self, run_id: str, step: str, code: str, message: str) -> None:
        super().__init__(f"run {run_id} failed in step {step or '?'}: {code}: {message}")
        self.run_id, self.step, self.code, self.message = run_id, step, code, message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_id, self.step, self.code, self.message)


class RunCancelled(StepgresError):
    """The run was cancelled.

    Args:
        run_id: id of the run.
        message: the reason given with the cancellation; empty without one.
    """

    def __init__(self, run_id: str, message: str = "") -> None:
        super().__init__(f"run {run_id} was cancelled" + (f": {message}" if message else ""))
        self.run_id, self.message = run_id, message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_id, self.message)


class MissingHandlers(StepgresError):
    """Steps of a flow have no function; nothing was started.

    Args:
        flow: slug of the flow.
        steps: slugs of the steps without a function.
    """

    def __init__(self, flow: str, steps: Iterable[str]) -> None:
        self.flow, self.steps = flow, tuple(steps)
        names = ", ".join(self.steps)
        super().__init__(f"flow {flow}: no function for {names}; add {names} to step_functions. Nothing was started.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flow, self.steps)


class ForkedError(StepgresError):
    """This process was forked from one that had gRPC channels open, and they do not survive a fork.

    Create and use clients after the fork only (gunicorn: in `post_fork`; uvicorn workers: in the app's start-up), or
    start processes with multiprocessing's "spawn" or "forkserver".
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class WrongThreadError(StepgresError):
    """A blocking call came from the thread whose event loop would have to serve it.

    In `async` code use AsyncClient with `await`; blocking calls belong to synchronous code and handlers.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class TaskError(StepgresError):
    """Raise it in a handler to say how its task failed.

    Args:
        message: for people; cut at 8 KiB.
        code: UPPER_SNAKE, up to 128 characters; what RunFailed and the run's error carry.
        retryable: False fails the task for good, whatever attempts are left.
        retry_after_s: seconds until the next attempt, 0 to 604800 (7 days); None = the step's backoff.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "HANDLER_ERROR",
        retryable: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message or "the handler failed")
        self.message, self.code, self.retryable, self.retry_after_s = message, code, retryable, retry_after_s


#: By status code; what is not listed becomes RequestError.
_BY_CODE: dict[str, type[RequestError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "OUT_OF_RANGE": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "ABORTED": Aborted,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNIMPLEMENTED": Unimplemented,
    "UNAVAILABLE": Unavailable,
    # Not by us, that is a CancelledError: a server that shuts down ends so what it has not begun.
    "CANCELLED": Unavailable,
    "INTERNAL": InternalError,
    "DATA_LOSS": InternalError,
}


def request_error(
    code: str,
    message: str,
    *,
    reason: str = "",
    violations: Sequence[FieldViolation] = (),
    metadata: dict[str, str] | None = None,
    target: str = "",
) -> RequestError:
    """Makes the class that belongs to a reason, else to a status code."""
    from .errors import BY_REASON  # its classes are children of ours

    kind = _BY_CODE.get(code, RequestError)
    cause = cause_in_words(message) if kind is Unavailable and not reason else ""
    if cause:
        message = (
            f"no coordinator answers at {target or 'the target'} ({cause}). Does `stepgres dev` or `stepgres serve` run "
            f"there? Set STEPGRES_TARGET to the host:port of one, or start one: `stepgres dev` serves {DEFAULT_TARGET}."
        )
    if len(violations) > 1:
        message = _told(violations)
    known = BY_REASON.get(reason, kind)
    if issubclass(known, kind):  # or the reason has come with another status, whose class callers expect then
        kind = known
    error = kind(message, code=code, reason=reason, violations=violations, metadata=metadata)
    if cause and isinstance(error, Unavailable):
        error.cause = cause
    return error


def _told(violations: Sequence[FieldViolation]) -> str:
    """A line for each: the text of the status has the first one only, and who reads a traceback mends one at a time."""
    lines = [
        v.description if v.description.startswith(v.field) else f"{v.field}: {v.description}"
        for v in violations[:_MAX_TOLD]
    ]
    more = len(violations) - len(lines)
    return "\n".join([*lines, f"and {more} more in .violations"] if more else lines)


def from_status(code: str, message: str, details: bytes | None, *, target: str = "") -> RequestError:
    """Reads a gRPC status with its google.rpc.Status details.

    Args:
        code: name of the status code.
        message: text of the status.
        details: value of the trailing metadata `grpc-status-details-bin`; None without one.
        target: address that was called, for the message of Unavailable.
    """
    reason, metadata, violations = "", {}, []
    try:
        found = status_pb2.Status.FromString(details or b"").details
    except DecodeError:  # some proxy's; code and text stand alone
        found = status_pb2.Status().details
    for detail in found:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            violations = [FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations]
    return request_error(code, message, reason=reason, violations=violations, metadata=metadata, target=target)


def from_rpc(error: grpc.aio.AioRpcError, *, target: str = "") -> RequestError:
    """Reads what grpc.aio raised."""
    trailers = dict(error.trailing_metadata() or ())
    details = trailers.get(DETAILS_KEY)
    return from_status(
        error.code().name,
        error.details() or "",
        details if isinstance(details, bytes) else None,
        target=target,
    )
