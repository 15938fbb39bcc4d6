"""The fault proxy: stands between worker and coordinator, writes every frame down, and does to it what a point asks.

Frames pass as the bytes they came as, unless a fault changes them: what a newer side added is not lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from stepgres.v1 import worker_pb2
from stepgres_conformance.tape import Frame, Tape

_MESSAGE_BYTES = 20 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
)
_SERVER_OPTIONS = (
    *_OPTIONS[:2],
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)
_WORK = "/stepgres.v1.WorkerService/Work"
_GET_RUN_INPUT = "/stepgres.v1.WorkerService/GetRunInput"
#: Seconds a unary call may take on its way through.
_UNARY_S = 30.0
#: Seconds that a half-close may take to come behind Goodbye.
_HALF_CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class _End:
    """How a stream ends for the worker."""

    code: grpc.StatusCode
    details: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = ()


class Stream:
    """One Work stream of the worker.

    Args:
        number: from 1, over all streams of the worker process.
        tape: where its frames are written down.
    """

    def __init__(self, number: int, tape: Tape) -> None:
        self.number = number
        self.tape = tape
        #: The worker has said Goodbye.
        self.said_goodbye = False
        #: The worker has half-closed, or has broken the stream.
        self.closed_by_worker = asyncio.Event()
        self.outgoing: asyncio.Queue[bytes | _End] = asyncio.Queue()
        #: The call to the coordinator; set when the stream is opened.
        self.call: grpc.aio.StreamStreamCall[bytes, bytes]
        self._written_down: Callable[[], None] = lambda: None

    def listen(self, written_down: Callable[[], None]) -> None:
        """Calls `written_down` after each frame."""
        self._written_down = written_down

    def write_down(self, frame: Any, size: int, *, from_worker: bool) -> None:
        """Puts a frame on the tape."""
        kind = frame.WhichOneof("frame") or ""
        body = getattr(frame, kind) if kind else None
        self.tape.frames.append(Frame(time.monotonic(), self.number, from_worker, kind, body, size))
        self._written_down()

    async def pass_on(self, frame: worker_pb2.WorkRequest) -> None:
        """Sends the coordinator a frame of the worker that was held back."""
        await self.call.write(frame.SerializeToString())

    def inject(self, **frame: Any) -> None:
        """Sends the worker a frame of our own: inject(ping=Ping())."""
        self.send(worker_pb2.WorkResponse(**frame))

    def send(self, frame: worker_pb2.WorkResponse) -> None:
        """Sends the worker a frame."""
        self.send_bytes(frame.SerializeToString())

    def send_bytes(self, raw: bytes) -> None:
        """Sends the worker a frame as bytes, such as one of a later version."""
        self.write_down(worker_pb2.WorkResponse.FromString(raw), len(raw), from_worker=False)
        self.outgoing.put_nowait(raw)

    def cut(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """Breaks the stream, as a network does, or ends it with the status that a coordinator would give."""
        self.outgoing.put_nowait(_End(code, "the stream was cut by the conformance kit"))


#: Looks at a frame on its way: returns it, another one instead, or None to drop it.
RequestFault = Callable[[Stream, worker_pb2.WorkRequest], worker_pb2.WorkRequest | None]
ResponseFault = Callable[[Stream, worker_pb2.WorkResponse], worker_pb2.WorkResponse | None]
#: Answers GetRunInput, with a status or the input; None = the coordinator shall.
InputFault = Callable[[], grpc.StatusCode | bytes | None]


class Proxy:
    """Forwards what a worker does to a coordinator.

    Args:
        on_change: called whenever something has happened.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        #: host:port of the coordinator that new streams go to.
        self.upstream = ""
        #: host:port that workers connect to; set by start().
        self.address = ""
        self.tape = Tape()
        self.request_fault: RequestFault | None = None
        self.response_fault: ResponseFault | None = None
        self.input_fault: InputFault | None = None
        #: Seconds for which the worker does not hear that the coordinator has ended a stream, unless it closes it itself.
        self.linger_s = 0.0
        #: With what new streams are refused; None = they are not. UNAVAILABLE is a coordinator that is away.
        self.refusing: grpc.StatusCode | None = None
        #: Streams that were refused.
        self.refused = 0
        self.streams: dict[int, Stream] = {}
        self._count = 0
        self._server: grpc.aio.Server
        self._unary: dict[str, grpc.aio.Channel] = {}

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((_Everything(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        """Breaks what is open."""
        await self._server.stop(None)
        for channel in self._unary.values():
            await channel.close()

    def begin(self) -> Tape:
        """A new worker process comes: begins a new tape without faults."""
        self.tape, self.streams, self._count, self.refused = Tape(), {}, 0, 0
        self.heal()
        return self.tape

    def heal(self) -> None:
        """Takes back every fault."""
        self.request_fault = self.response_fault = self.input_fault = None
        self.refusing, self.linger_s = None, 0.0

    # ------------------------------------------------------------------------------------------------ work

    async def work(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """One stream of the worker."""
        if self.refusing is not None:
            self.refused += 1
            self._on_change()
            await context.abort(self.refusing, "the conformance kit refuses this stream")
        self._count += 1
        stream = self.streams[self._count] = Stream(self._count, self.tape)
        stream.listen(self._on_change)
        async with grpc.aio.insecure_channel(self.upstream, options=_OPTIONS) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(_WORK)()
            stream.call = call
            pumps = [
                asyncio.create_task(self._to_coordinator(stream, requests, call)),
                asyncio.create_task(self._to_worker(stream, call)),
            ]
            try:
                await self._write(stream, context)
            finally:
                stream.tape.ended[stream.number] = len(stream.tape.frames)
                self._on_change()
                call.cancel()
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _write(self, stream: Stream, context: Any) -> None:
        """The only one who writes to the worker."""
        while isinstance(item := await stream.outgoing.get(), bytes):
            await context.write(item)
        if item.code is not grpc.StatusCode.OK:
            await context.abort(item.code, item.details, item.metadata)

    async def _to_coordinator(self, stream: Stream, requests: AsyncIterator[bytes], call: Any) -> None:
        ended = (grpc.aio.AioRpcError, asyncio.InvalidStateError)  # the other pump learns why
        async for raw in requests:
            frame = worker_pb2.WorkRequest.FromString(raw)
            stream.said_goodbye = stream.said_goodbye or frame.HasField("goodbye")
            stream.write_down(frame, len(raw), from_worker=True)
            fault = self.request_fault
            kept = frame if fault is None else fault(stream, frame)
            if kept is not None:
                with contextlib.suppress(*ended):
                    await call.write(raw if kept is frame else kept.SerializeToString())
        stream.closed_by_worker.set()
        self._on_change()
        with contextlib.suppress(*ended):
            await call.done_writing()

    async def _to_worker(self, stream: Stream, call: Any) -> None:
        try:
            while (raw := await call.read()) is not grpc.aio.EOF:
                frame = worker_pb2.WorkResponse.FromString(raw)
                fault = self.response_fault
                kept = frame if fault is None else fault(stream, frame)
                if kept is frame:
                    stream.send_bytes(raw)
                elif kept is not None:
                    stream.send(kept)
            end = _End(await call.code())
            # The coordinator ends the stream at Goodbye. Passed on at once, that would outrun the half-close.
            linger_s = _HALF_CLOSE_S if stream.said_goodbye else self.linger_s
        except grpc.aio.AioRpcError as error:
            metadata = tuple((key, value) for key, value in error.trailing_metadata() or ())
            end = _End(error.code(), error.details() or "", metadata)
            linger_s = self.linger_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger_s):
                await stream.closed_by_worker.wait()
        stream.outgoing.put_nowait(end)

    # ------------------------------------------------------------------------------------------------ unary

    async def unary(self, method: str, request: bytes, context: Any) -> bytes:
        """Any other call of the worker."""
        if method == _GET_RUN_INPUT:
            self.tape.input_calls.append(worker_pb2.GetRunInputRequest.FromString(request).token)
            self._on_change()
            answer = None if self.input_fault is None else self.input_fault()
            if isinstance(answer, bytes):
                return worker_pb2.GetRunInputResponse(input=answer).SerializeToString()
            if answer is not None:
                await context.abort(answer, "the conformance kit does not answer this call")
        channel = self._unary.get(self.upstream)
        if channel is None:
            channel = self._unary[self.upstream] = grpc.aio.insecure_channel(self.upstream, options=_OPTIONS)
        try:
            forward: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            return await forward(request, timeout=_UNARY_S)
        except grpc.aio.AioRpcError as error:
            metadata = tuple((key, value) for key, value in error.trailing_metadata() or ())
            await context.abort(error.code(), error.details() or "", metadata)
            raise


class _Everything(grpc.GenericRpcHandler):
    """Takes every method, with bodies as bytes."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        method = handler_call_details.method
        if method == _WORK:
            return grpc.stream_stream_rpc_method_handler(self._proxy.work)

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._proxy.unary(method, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)
