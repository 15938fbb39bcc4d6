"""Around every rpc: errors of the domain become statuses, faults get an id, and each call has a request id.

Nothing here runs for each message of a stream but the hand-over of one async generator to another.
"""

from __future__ import annotations

import functools
import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from grpc_status import rpc_status

from stepgres_service.api.malformed import read_message
from stepgres_service.api.status import code_of, to_status
from stepgres_service.errors import Reason, StepgresError

_log = structlog.get_logger(__name__)

#: Metadata key of the caller's name for a call; answered in the initial metadata of streams and every trailer.
REQUEST_ID = "x-request-id"
_MAX_REQUEST_ID_CHARS = 128

_Context = grpc.aio.ServicerContext[Any, Any]
_Behavior = Callable[[Any, _Context], Any]


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Gives every rpc its request id, its line in the log and a status for whatever it raises."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler of one call; an unknown method has none and stays UNIMPLEMENTED."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        request_id = _request_id(handler_call_details.invocation_metadata)
        if handler.request_streaming and handler.response_streaming:
            kind, make = "stream_stream", grpc.stream_stream_rpc_method_handler
        elif handler.request_streaming:
            kind, make = "stream_unary", grpc.stream_unary_rpc_method_handler
        elif handler.response_streaming:
            kind, make = "unary_stream", grpc.unary_stream_rpc_method_handler
        else:
            kind, make = "unary_unary", grpc.unary_unary_rpc_method_handler
        wrapped = _wrapped(getattr(handler, kind), method, request_id, streams=handler.response_streaming)
        # The generated `FromString` is bound to its class. Left alone, gRPC answers a body it refuses INTERNAL.
        deserializer = functools.partial(read_message, handler.request_deserializer.__self__)
        return make(wrapped, deserializer, handler.response_serializer)


def _wrapped(behavior: _Behavior, method: str, request_id: str, *, streams: bool) -> _Behavior:
    # gRPC looks at the function itself to tell a generator from a coroutine (which writes through the context, as the
    # health service's Watch does), so each kind needs a wrapper of its own kind.
    if inspect.isasyncgenfunction(behavior):

        async def generate(request: Any, context: _Context) -> AsyncIterator[Any]:
            # Closed with us, not by the garbage collector: its `finally` gives a worker's leases back.
            async with _Call(method, request_id, context, streams=True):
                _refuse_malformed(request)
                async with aclosing(behavior(request, context)) as responses:
                    async for response in responses:
                        yield response

        return generate

    async def answer(request: Any, context: _Context) -> Any:
        async with _Call(method, request_id, context, streams=streams):
            _refuse_malformed(request)
            return await behavior(request, context)

    return answer


def _refuse_malformed(request: Any) -> None:
    if isinstance(request, StepgresError):
        raise request


class _Call:
    """One rpc from its first to its last moment.

    Args:
        method: full name, `/stepgres.v1.FlowService/CreateFlow`.
        request_id: the caller's name for it, or ours.
        context: gRPC's side of it.
        streams: it answers a stream, whose trailer may be hours away.
    """

    def __init__(self, method: str, request_id: str, context: _Context, *, streams: bool) -> None:
        self._method = method
        self._request_id = request_id
        self._context = context
        self._streams = streams
        self._started = time.monotonic()

    async def __aenter__(self) -> None:
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        metadata = ((REQUEST_ID, self._request_id),)
        self._context.set_trailing_metadata(metadata)
        if self._streams:
            # For a unary call this would be one more operation of the transport; it has its trailer at once.
            await self._context.send_initial_metadata(metadata)

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            await self._abort(error)
        # CancelledError, GeneratorExit (the peer is gone) and an abort of the handler's own pass as they are.
        self._line("OK" if error is None else "CANCELLED" if not isinstance(error, Exception) else "ABORTED_BY_HANDLER")

    async def _abort(self, error: Exception) -> None:
        """Ends the call with the status of an error; always raises."""
        if not isinstance(error, StepgresError) or code_of(error) is grpc.StatusCode.INTERNAL:
            error = self._fault(error)
        status = rpc_status.to_status(to_status(error))
        self._line(status.code.name, str(error.reason))
        await self._context.abort(
            status.code, status.details, (*status.trailing_metadata, (REQUEST_ID, self._request_id))
        )

    def _fault(self, error: Exception) -> StepgresError:
        """What the caller may know of a fault of ours: an id under which the log has the rest."""
        fault = secrets.token_hex(4)
        _log.warning("rpc failed", rpc=self._method, fault=fault, exc_info=error)
        return StepgresError(
            f"something went wrong inside the coordinator; its log explains it under {fault}",
            reason=Reason.INTERNAL,
            metadata={"fault": fault},
        )

    def _line(self, code: str, reason: str = "") -> None:
        took_ms = round((time.monotonic() - self._started) * 1000, 1)
        _log.debug("rpc", rpc=self._method, code=code, reason=reason, took_ms=took_ms)


def _request_id(metadata: Any) -> str:
    """The caller's id if it is one, else a new one."""
    for key, value in metadata or ():
        if key == REQUEST_ID and isinstance(value, str):
            if 0 < len(value) <= _MAX_REQUEST_ID_CHARS and value.isascii() and value.isprintable():
                return value
            break
    return secrets.token_hex(8)
