"""Faults in how a worker comes, stays and leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from stepgres.v1 import worker_pb2
from stepgres_worker import StepgresError, _transport, _worker
from stepgres_worker._link import Link
from stepgres_worker._session import Session
from tests.conformance.planted.fault import fault

_USUAL_LIMIT = ("grpc.max_receive_message_length", 4 << 20)


@fault
def no_heartbeats() -> None:
    """Answers a Ping, and sends nothing of itself but progress."""
    whole = Link._beat

    def beat(self: Link) -> None:
        if self._session.has_progress:
            whole(self)
        else:
            self._arm()

    Link._beat = beat


@fault
def beats_half_as_often() -> None:
    """Sends a heartbeat in every other period."""
    Link._period_s = lambda self: 2 * self._session.welcome.heartbeat_ms / 1000


@fault
def ignores_ping() -> None:
    """Does not answer a Ping."""
    _skip("ping")


@fault
def ignores_drain() -> None:
    """Stays until the coordinator closes the stream."""
    _skip("drain")


@fault
def closes_before_it_opens() -> None:
    """Lets its stream go when it hears Drain, and opens the next one then."""
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") == "drain":
            self._stream.cancel()
        else:
            whole(self, frame)

    Link._receive = receive


@fault
def says_goodbye_to_a_draining_one() -> None:
    """Ends the draining stream with Goodbye when the next one was welcomed."""
    whole = Link.close

    async def close(self: Link) -> None:
        if self.draining and not self.ended:
            with contextlib.suppress(StepgresError):  # the coordinator was faster
                await self._stream.write(worker_pb2.WorkRequest(goodbye=worker_pb2.Goodbye()))
                await self._stream.done_writing()
                await asyncio.sleep(0.2)
        await whole(self)

    Link.close = close


@fault
def throws_late_tasks_away() -> None:
    """Drops what came over a draining stream though the next one was refused."""
    whole = Link.restore

    def restore(self: Link) -> None:
        self._held_back.clear()
        whole(self)

    Link.restore = restore


@fault
def dies_of_a_fault_of_its_own() -> None:
    """Ends when a stream ends with INVALID_ARGUMENT after its Welcome."""
    whole = _worker.Worker._open

    async def open_stream(self: _worker.Worker, old: Link | None) -> Link:
        if old is not None and old.error is not None and _worker._is_fatal(old.error):
            raise old.error
        return await whole(self, old)

    _worker.Worker._open = open_stream


@fault
def takes_small_messages() -> None:
    """Has its library's usual limit of 4 MiB on the stream."""
    _transport._STREAM_OPTIONS = (*_transport._STREAM_OPTIONS[1:], _USUAL_LIMIT)


@fault
def takes_small_inputs() -> None:
    """Has its library's usual limit of 4 MiB for GetRunInput."""
    _transport.CHANNEL_OPTIONS = (*_transport.CHANNEL_OPTIONS[1:], _USUAL_LIMIT)


@fault
def dies_of_unknown_frames() -> None:
    """Opens another stream over a frame that it does not know."""
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") is None:
            raise ValueError("what is this?")
        whole(self, frame)

    Link._receive = receive


@fault
def speaks_before_welcome() -> None:
    """Sends a Heartbeat behind Hello at once."""
    whole = _worker.Link.open

    async def open_stream(self: Link) -> None:
        write = self._stream.write

        async def and_more(frame: worker_pb2.WorkRequest) -> None:
            await write(frame)
            if frame.HasField("hello"):
                await write(worker_pb2.WorkRequest(heartbeat=worker_pb2.Heartbeat()))

        self._stream.write = and_more  # type: ignore[method-assign]
        await whole(self)

    Link.open = open_stream


@fault
def lists_nothing_as_held() -> None:
    """Resumes its session without the tokens that it holds."""
    whole = Session.hello

    def hello(self: Session) -> worker_pb2.WorkRequest:
        frame = whole(self)
        del frame.hello.held_tokens[:]
        return frame

    Session.hello = hello


@fault
def never_resumes() -> None:
    """A minimal worker: begins a new session with each stream."""
    whole = Session.hello

    def hello(self: Session) -> worker_pb2.WorkRequest:
        if self.welcome.session_id:
            self._drop([*self.leases, *self.kept], "a minimal worker resumes nothing")
            self.welcome.session_id = b""
        return whole(self)

    Session.hello = hello


@fault
def knocks_without_pause() -> None:
    """Tries again at once when no coordinator takes its stream."""
    _worker.full_jitter_s = lambda *_, **__: 0.0  # type: ignore[assignment]


@fault
def drops_goodbye() -> None:
    """Closes its stream without a word."""

    async def leave(self: Link, _goodbye: worker_pb2.WorkRequest, _timeout_s: float) -> None:
        await self.close()

    Link.leave = leave


@fault
def ignores_late_tasks() -> None:
    """Does not look at tasks that come while it stops."""
    whole = Session.receive_tasks

    def receive(self: Session, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        if not self.stopping:
            whole(self, tasks)

    Session.receive_tasks = receive


@fault
def leaves_at_once() -> None:
    """Says Goodbye on a stop without waiting for anything."""
    _worker.Worker._done = lambda self, _deadline: self._stop_asked


def _skip(kind: str) -> None:
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") != kind:
            whole(self, frame)

    Link._receive = receive
