"""From what a handler did to what is sent: an output as JSON bytes, a Failed message, or RELEASED."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _json
from ._errors import TaskError

if TYPE_CHECKING:
    from types import TracebackType

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
    except Exception as error:  # noqa: BLE001 also what a property of a dataclass raises: it must fail this task alone
        return worker_pb2.Failed(
            code="INVALID_OUTPUT",
            message=_head(f"the handler returned {describe(value)}, which is not JSON: {_text(error)}", MESSAGE_BYTES),
            non_retryable=True,
        )
    if len(output) > max_bytes:
        return worker_pb2.Failed(
            code="OUTPUT_TOO_LARGE",
            message=f"the output has {len(output)} bytes, allowed are {max_bytes}; store it elsewhere and return a reference",
            non_retryable=True,
        )
    return output


def describe(value: Any, depth: int = 10) -> str:
    """The type of a value, and for containers the type inside that is not JSON, at most `depth` levels down."""
    name = type(value).__name__
    if isinstance(value, dict | list | tuple):
        if not depth:
            return f"a {name} that is nested too deeply or holds itself"
        for item in value.values() if isinstance(value, dict) else value:
            try:
                _json.dumps(item)
            except RecursionError:
                return f"a {name} that is nested too deeply or holds itself"
            except Exception:  # noqa: BLE001 whatever `completed` met
                return f"a {name} holding {describe(item, depth - 1)}"
    if isinstance(value, float):
        return f"the {name} {value!r}"
    return f"an object of type {name}"


def failed(error: BaseException, handler: Handler) -> worker_pb2.Failed:
    """An exception of a handler as the failure of its task."""
    told = isinstance(error, TaskError)
    # By getattr and by hand: a child of TaskError may have skipped its __init__, or have taken a number for a code.
    code = str(getattr(error, "code", "") or "HANDLER_ERROR") if told else "HANDLER_ERROR"
    return worker_pb2.Failed(
        code=_head(code, 128),
        message=_head((_text(error) if told else "") or _message(error), MESSAGE_BYTES),
        details="" if told and error.__cause__ is None else _traceback(error),
        non_retryable=isinstance(error, handler.non_retryable) or (told and not getattr(error, "retryable", True)),
        retry_after_ms=_milliseconds(getattr(error, "retry_after_s", None)) if told else None,
    )


def _milliseconds(seconds: Any) -> int | None:
    try:
        return round(min(max(0.0, float(seconds) * 1000), _MAX_RETRY_AFTER_MS))
    except (TypeError, ValueError):  # None, or something that is no number: the step's backoff
        return None


def not_decoded(error: Exception) -> worker_pb2.Failed:
    """The input cannot be decoded here."""
    message = _head(f"the input cannot be decoded: {error}", MESSAGE_BYTES)
    return worker_pb2.Failed(code="INVALID_INPUT", message=message, non_retryable=True)


def timed_out(timeout_s: int) -> worker_pb2.Failed:
    """The handler took too long."""
    return worker_pb2.Failed(code="TIMEOUT", message=f"the handler took longer than {timeout_s} s")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 an exception whose text fails must not take the worker along
        return f"(its text cannot be made: {type(broken).__name__})"


def _message(error: BaseException) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, beyond_the_sdk(error.__traceback__))
        return _tail("".join(lines), TRACEBACK_BYTES)
    except Exception:  # noqa: BLE001 as above
        return ""


def beyond_the_sdk(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the handler on: how the worker came to call it tells its author nothing."""
    rest = trace
    while rest is not None and rest.tb_frame.f_globals.get("__package__") == __package__:
        rest = rest.tb_next
    return rest or trace
