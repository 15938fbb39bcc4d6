"""The one table from the domain's errors to gRPC, and what a caller gets to see of an error."""

from __future__ import annotations

import math

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from stepgres.v1 import common_pb2, run_pb2
from stepgres_service.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SetupError,
    StepgresError,
    Unavailable,
    Unimplemented,
)

#: Domain of every ErrorInfo.
DOMAIN = "stepgres"

_CODES: dict[type[StepgresError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Aborted: grpc.StatusCode.ABORTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    SetupError: grpc.StatusCode.INTERNAL,
    StepgresError: grpc.StatusCode.INTERNAL,
}

#: gRPC sends a status in the trailing metadata, of which most peers take 8 KiB: message and details share them.
_MAX_MESSAGE_COST = 1500
_MAX_VIOLATIONS_BYTES = 3072


def code_of(error: StepgresError) -> grpc.StatusCode:
    """The code of an error's class, or of the nearest class above it."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def to_status(error: StepgresError) -> status_pb2.Status:
    """What a caller gets: code, message, ErrorInfo, and BadRequest and RetryInfo where they apply.

    Args:
        error: of the domain. Its message is shown as it is, so a fault of ours must not come here with its text.

    Returns:
        A status small enough for the trailing metadata: of very many violations the first are named one by one, and
        ErrorInfo.metadata says how many there are (`violation_count`).
    """
    metadata = {name: _cut(value) for name, value in error.metadata.items()}
    details: list[Message] = []
    if isinstance(error, InvalidArgument):
        bad_request = _bad_request(error)
        metadata["violation_count"] = str(len(error.violations))
        details.append(bad_request)
    elif error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=_cut(error.message), reason=str(error.reason)
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s)))
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=str(error.reason), metadata=metadata)
    return status_pb2.Status(
        code=_number(code_of(error)), message=_cut(error.message), details=[_packed(info), *map(_packed, details)]
    )


def item_error(error: StepgresError) -> run_pb2.ItemError:
    """What the caller of a batch gets for one item."""
    return run_pb2.ItemError(
        code=_number(code_of(error)),
        reason=common_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=_cut(error.message),
        field=error.field,
    )


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    detail = error_details_pb2.BadRequest()
    size = 0
    for violation in error.violations:
        message = _cut(violation.message)
        size += len(violation.path.encode()) + len(message.encode()) + len(violation.reason) + 16
        if size > _MAX_VIOLATIONS_BYTES and detail.field_violations:
            break
        detail.field_violations.add(field=violation.path, description=message, reason=str(violation.reason))
    return detail


def _cut(text: str) -> str:
    """The text as far as a status has room for it, by what percent-encoding makes of each character."""
    cost = 0
    for position, char in enumerate(text):
        cost += 1 if " " <= char <= "~" else 3 * len(char.encode(errors="replace"))
        if cost > _MAX_MESSAGE_COST:
            return f"{text[:position]}…"
    return text


def _number(code: grpc.StatusCode) -> int:
    return int(code.value[0])


def _duration(seconds: float) -> Duration:
    fraction, whole = math.modf(seconds)
    return Duration(seconds=int(whole), nanos=round(fraction * 1e9))


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
