"""From what a handler did to what is sent: an output as JSON bytes, a Failed message, or RELEASED."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _json
from ._errors import TaskError

if TYPE_CHECKING:
    from ._registry import Handler

#: Handed back unexecuted.
RELEASED = worker_pb2.Released()
#: An output (JSON), a failure, or RELEASED.
Outcome = bytes | worker_pb2.Failed | worker_pb2.Released

TRACEBACK_BYTES = 4 * 1024
MESSAGE_BYTES = 8 * 1024
_MAX_RETRY_AFTER_MS = 604_800_000


def _head(text: str, size: int) -> str:
    """The first `size` bytes of a text; lone surrogates and U+0000, which no message may hold, are replaced."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    return clean[:size].decode(errors="ignore")


def _tail(text: str, size: int) -> str:
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    return clean[-size:].decode(errors="ignore")


def completed(value: Any, max_bytes: int) -> Outcome:
    """A return value as JSON, or the failure that says why it is none."""
    try:
        output = _json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        return worker_pb2.Failed(
            code="INVALID_OUTPUT",
            message=_head(f"the handler returned {describe(value)}, which is not JSON: {error}", MESSAGE_BYTES),
            non_retryable=True,
        )
    if len(output) > max_bytes:
        return worker_pb2.Failed(
            code="OUTPUT_TOO_LARGE",
            message=f"the output has {len(output)} bytes, allowed are {max_bytes}; store it elsewhere and return a reference",
            non_retryable=True,
        )
    return output


def describe(value: Any) -> str:
    """The type of a value, and for containers the type inside that is not JSON."""
    name = type(value).__name__
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            try:
                _json.dumps(item)
            except (TypeError, ValueError, RecursionError) as error:
                if isinstance(error, RecursionError):
                    return f"a {name} that is nested too deeply or holds itself"
                return f"a {name} holding {describe(item)}"
    if isinstance(value, float):
        return f"the {name} {value!r}"
    return f"an object of type {name}"


def failed(error: BaseException, handler: Handler) -> worker_pb2.Failed:
    """An exception of a handler as the failure of its task."""
    if isinstance(error, TaskError):
        retry_after = error.retry_after_s
        return worker_pb2.Failed(
            code=_head(error.code, 128),
            message=_head(str(error), MESSAGE_BYTES),
            details=_traceback(error) if error.__cause__ is not None else "",
            non_retryable=not error.retryable or isinstance(error, handler.non_retryable),
            retry_after_ms=None if retry_after is None else min(max(0, round(retry_after * 1000)), _MAX_RETRY_AFTER_MS),
        )
    return worker_pb2.Failed(
        code="HANDLER_ERROR",
        message=_head(_message(error), MESSAGE_BYTES),
        details=_traceback(error),
        non_retryable=isinstance(error, handler.non_retryable),
    )


def not_started(error: Exception, handler: Handler) -> worker_pb2.Failed:
    """The input cannot be decoded here, or the call failed before the handler's body."""
    if isinstance(error, ValueError | RecursionError):
        message = _head(f"the input cannot be decoded: {error}", MESSAGE_BYTES)
        return worker_pb2.Failed(code="INVALID_INPUT", message=message, non_retryable=True)
    return failed(error, handler)


def timed_out(timeout_s: int) -> worker_pb2.Failed:
    """The handler took too long."""
    return worker_pb2.Failed(code="TIMEOUT", message=f"the handler took longer than {timeout_s} s")


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 an exception whose text fails must not take the worker along
        text = f"(its text cannot be made: {type(broken).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str:
    try:
        return _tail("".join(traceback.format_exception(error)), TRACEBACK_BYTES)
    except Exception:  # noqa: BLE001 as above
        return ""
