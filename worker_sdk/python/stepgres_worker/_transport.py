"""The seam under client and worker: everything that touches gRPC is here; `testing.FakeTransport` stands in for it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Protocol, cast

from stepgres.v1 import run_pb2, worker_pb2

from . import _rpc
from ._errors import ForkedError, StepgresError, from_rpc
from ._grpc import grpc
from ._targets import resolve_target
from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._rpc import Req, Res, Rpc

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
#: Published numbers: ping after 15 s, give up 10 s later; servers allow a ping each 10 s.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 15_000, 10_000
#: Spreads workers over the addresses of a name, so that a reconnect may land elsewhere.
_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    # Without it a ping is waited for a minute, whatever the timeout above says.
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.primary_user_agent", f"stepgres-worker/{__version__}"),
    ("grpc.service_config", _SERVICE_CONFIG),
    # A channel waits a second, not twenty, before it tries an address again that refused.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
# One connection a stream: a stream opened because of a Drain must not share the draining one's.
_STREAM_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


class WorkStream(Protocol):
    """One Work stream: one task reads it, one task writes it."""

    async def read(self) -> worker_pb2.WorkResponse | None:
        """The next frame; None when the other side has closed with OK. Never cancel a pending read.

        Raises:
            RequestError: the stream ended with this status.
        """

    async def write(self, frame: worker_pb2.WorkRequest) -> None:
        """Sends a frame; returns when the transport has taken it.

        Raises:
            RequestError: the stream has ended.
        """

    async def done_writing(self) -> None:
        """Half-closes."""

    def cancel(self) -> None:
        """Ends the stream at once; pending reads and writes raise. Safe to repeat."""

    async def close(self) -> None:
        """Cancels and frees what the stream holds."""


class Transport(Protocol):
    """How client and worker reach a coordinator."""

    #: The address, for people.
    target: str

    async def call(self, rpc: Rpc[Req, Res], request: Req, *, timeout_s: float) -> Res:
        """One unary call, tried once.

        Raises:
            RequestError: it was refused, or nobody answered.
        """

    def watch(self, request: run_pb2.WatchRunRequest) -> AsyncGenerator[run_pb2.WatchRunResponse, None]:
        """The frames of one WatchRun call."""

    def open_work(self) -> WorkStream:
        """A new Work stream on a connection of its own."""

    async def close(self) -> None:
        """Closes every connection."""


class _ForkGuard:
    """gRPC's threads do not survive a fork: remembers whether this process was forked from one that used it."""

    def __init__(self) -> None:
        self.used = False
        self.forked = False
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        """Runs in the child."""
        self.forked = self.forked or self.used

    def enter(self) -> None:
        """Raises ForkedError, or notes that gRPC is in use from here on."""
        if self.forked:
            raise ForkedError
        self.used = True


fork_guard = _ForkGuard()


class GrpcWorkStream:
    """A Work stream over grpc.aio with a channel of its own."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._channel = grpc.aio.insecure_channel(target, options=_STREAM_OPTIONS)
        open_stream = self._channel.stream_stream(
            _rpc.WORK_PATH,
            request_serializer=worker_pb2.WorkRequest.SerializeToString,
            response_deserializer=worker_pb2.WorkResponse.FromString,
        )
        self._call: grpc.aio.StreamStreamCall[Any, Any] = open_stream(wait_for_ready=False)
        self._cancelled = False

    async def read(self) -> worker_pb2.WorkResponse | None:
        """The next frame, None at the end."""
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target=self._target) from error
        except asyncio.CancelledError:
            self._end_or_reraise()
            return None
        return None if frame is grpc.aio.EOF else cast("worker_pb2.WorkResponse", frame)

    async def write(self, frame: worker_pb2.WorkRequest) -> None:
        """Sends a frame."""
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target=self._target) from error
        except asyncio.InvalidStateError as error:  # the call ended meanwhile
            raise StepgresError("the stream has ended") from error
        except asyncio.CancelledError:
            self._end_or_reraise()

    def _end_or_reraise(self) -> None:
        """Tells our own cancel of the call, which grpc.aio raises as CancelledError, from a cancel of this task."""
        task = asyncio.current_task()
        if not self._cancelled or (task is not None and task.cancelling()):
            raise  # noqa: PLE0704 called from an except block
        raise StepgresError("the stream was cancelled")

    async def done_writing(self) -> None:
        """Half-closes."""
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # ended already

    def cancel(self) -> None:
        """Ends the stream at once."""
        self._cancelled = True
        self._call.cancel()

    async def close(self) -> None:
        """Cancels the call, which nobody else would do, and closes its channel."""
        self.cancel()
        await self._channel.close()


class GrpcTransport:
    """Calls a coordinator over grpc.aio; the channel opens at first use.

    Args:
        target: host:port, or any gRPC target such as `dns:///name:50051` or `ipv4:10.0.0.1:1,10.0.0.2:1`;
            None = STEPGRES_TARGET, else 127.0.0.1:50051.

    Raises:
        ValueError: the target is none of these; the text names the form.
    """

    def __init__(self, target: str | None = None) -> None:
        self.target = resolve_target(target)
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}

    def _open(self) -> grpc.aio.Channel:
        fork_guard.enter()
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is None:
            self._channel, self._loop = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS), loop
        if self._loop is not loop:
            raise StepgresError(
                "this client was first used on another event loop; make one AsyncClient for each loop, "
                "or use Client, which has one loop for the whole process"
            )
        return self._channel

    async def call(self, rpc: Rpc[Req, Res], request: Req, *, timeout_s: float) -> Res:
        """One unary call."""
        channel = self._open()
        method = self._methods.get(rpc.path)
        if method is None:
            method = self._methods[rpc.path] = channel.unary_unary(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
        try:
            return cast("Res", await method(request, timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target=self.target) from error

    async def watch(self, request: run_pb2.WatchRunRequest) -> AsyncGenerator[run_pb2.WatchRunResponse, None]:
        """The frames of one WatchRun call."""
        method = self._open().unary_stream(
            _rpc.WATCH_RUN_PATH,
            request_serializer=run_pb2.WatchRunRequest.SerializeToString,
            response_deserializer=run_pb2.WatchRunResponse.FromString,
        )
        call = method(request)
        try:
            async for frame in call:
                yield frame
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, target=self.target) from error
        finally:
            call.cancel()

    def open_work(self) -> WorkStream:
        """A new Work stream on a connection of its own."""
        fork_guard.enter()
        return GrpcWorkStream(self.target)

    async def close(self) -> None:
        """Closes the channel; a later call opens a new one."""
        channel, self._channel, self._loop = self._channel, None, None
        self._methods.clear()
        if channel is not None:
            await channel.close()
