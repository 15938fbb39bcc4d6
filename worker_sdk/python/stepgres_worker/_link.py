"""One Work stream from Hello to its end: a task that reads, a task that writes, a timer that beats."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ._errors import StepgresError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepgres.v1 import worker_pb2

    from ._clock import Clock, Timer
    from ._session import Session
    from ._transport import WorkStream

logger = logging.getLogger("stepgres_worker")

#: Longest wait for Welcome.
HANDSHAKE_S = 10.0
#: Progress is sent at most once in so many seconds.
PROGRESS_S = 1.0


class Link:
    """A stream in use by a session.

    Args:
        stream: the stream, not yet written to.
        session: what it carries.
        clock: for heartbeats.
        changed: called when the link ends or its coordinator drains.
    """

    def __init__(self, stream: WorkStream, session: Session, clock: Clock, changed: Callable[[], None]) -> None:
        self._stream = stream
        self._session = session
        self._clock = clock
        self._changed = changed
        self._output = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: Timer | None = None
        self._sent = self.welcomed = clock.time()
        #: Since when results wait with no frame coming in; None = something came, or nothing was sent.
        self._waiting_since: float | None = None
        self._leaving = False
        #: The stream is over, or nothing of it counts any more.
        self.ended = False
        #: Why it ended; None when the other side closed it with OK.
        self.error: StepgresError | None = None
        #: The coordinator has said that it goes away.
        self.draining = False
        self._superseded = False
        self._held_back: list[worker_pb2.TaskBatch] = []

    def supersede(self) -> None:
        """A newer stream lists what the session holds: tasks that still come here are not in the list, so they wait."""
        self._superseded = True

    def restore(self) -> None:
        """The newer stream came to nothing: the tasks that waited are ours after all."""
        self._superseded = False
        waiting, self._held_back = self._held_back, []
        for batch in waiting:
            self._session.receive_tasks(batch.tasks)

    async def open(self) -> None:
        """Says Hello, waits for Welcome, and makes this the session's stream.

        Raises:
            StepgresError: the stream ended before, or no Welcome came within 10 s.
        """
        stream = self._stream
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            stream.cancel()

        timer = self._clock.call_at(self._clock.time() + HANDSHAKE_S, give_up)
        try:
            await stream.write(self._session.hello())
            frame = await stream.read()
        except StepgresError as error:
            if late:
                raise StepgresError(f"the coordinator did not answer Hello within {HANDSHAKE_S:.0f} s.") from error
            raise
        finally:
            timer.cancel()
        if frame is None or frame.WhichOneof("frame") != "welcome":
            raise StepgresError("the coordinator did not answer Hello with Welcome.")
        self.welcomed = self._clock.time()
        self._session.attach(frame.welcome, self._output.set)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        self._arm()

    async def close(self) -> None:
        """Lets the stream go at once; what was not acknowledged is sent again on the next one."""
        self._end(None)
        self._stream.cancel()
        self._leaving = True
        self._output.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stream.close()

    async def leave(self, goodbye: worker_pb2.WorkRequest, timeout_s: float) -> None:
        """Sends what is left and Goodbye, half-closes, and waits for the other side to close."""
        reader, writer = self._tasks
        closing = self._clock.call_at(self._clock.time() + timeout_s, self._stream.cancel)
        try:
            # Not by cancelling it: a cancelled write takes the whole stream along.
            self._leaving = True
            self._output.set()
            await asyncio.gather(writer, return_exceptions=True)
            for frame in (*self._session.frames(), goodbye):
                await self._stream.write(frame)
            await self._stream.done_writing()
            await asyncio.gather(reader, return_exceptions=True)
        except StepgresError as error:
            logger.debug("the stream ended before Goodbye: %s", error)
        finally:
            closing.cancel()
            await self.close()

    async def _read(self) -> None:
        error: StepgresError | None = None
        try:
            while (frame := await self._stream.read()) is not None:
                self._waiting_since = None
                self._receive(frame)
        except StepgresError as ended:
            error = ended
        except Exception as bug:
            logger.exception("a frame could not be handled; the stream is opened anew")
            error = StepgresError(f"a frame could not be handled: {bug}")
        self._end(error)

    def _receive(self, frame: worker_pb2.WorkResponse) -> None:
        session, kind = self._session, frame.WhichOneof("frame")
        if kind == "task_batch":
            if self._superseded:
                self._held_back.append(frame.task_batch)
            else:
                session.receive_tasks(frame.task_batch.tasks)
        elif kind == "ack_batch":
            session.receive_acks(frame.ack_batch.acks)
        elif kind == "cancel_tasks":
            session.receive_cancel(frame.cancel_tasks)
        elif kind == "lease_lost":
            session.receive_lost(frame.lease_lost)
        elif kind == "ping" and not self._superseded:
            session.beat()
        elif kind == "drain" and not self.draining:
            logger.info("the coordinator drains (%s); moving to another", frame.drain.reason or "no reason given")
            self.draining = session.draining = True
            self._changed()

    async def _write(self) -> None:
        try:
            while True:
                await self._output.wait()
                self._output.clear()
                if self._leaving:
                    return
                for frame in self._session.frames():
                    await self._stream.write(frame)
                    self._sent = self._clock.time()
                    if self._waiting_since is None and frame.HasField("result_batch"):
                        self._waiting_since = self._sent
        except StepgresError:
            return  # the reader learns why
        except Exception:
            logger.exception("a frame could not be made; the stream is opened anew")
            self._stream.cancel()

    def _arm(self) -> None:
        self._timer = self._clock.call_at(self._clock.time() + self._period_s(), self._beat)

    def _period_s(self) -> float:
        return min(PROGRESS_S, self._session.welcome.heartbeat_ms / 3000)

    def _beat(self) -> None:
        now, session = self._clock.time(), self._session
        if session.has_progress or now - self._sent >= session.welcome.heartbeat_ms / 1000 - self._period_s():
            session.beat()
        since = self._waiting_since
        if since is not None and session.kept and now - since > session.welcome.lease_ms / 1000:
            logger.warning("no answer to results for %.0f s; opening another stream", now - since)
            self._stream.cancel()
        self._arm()

    def _end(self, error: StepgresError | None) -> None:
        if self.ended:
            return
        self.ended, self.error = True, error
        if self._timer is not None:
            self._timer.cancel()
        self._session.detach(self._output.set)
        self._changed()
