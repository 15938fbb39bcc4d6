"""One worker's stream as the engine sees it: its credits, its leases, and the frames that wait to be written.

A session outlives its stream: while the stream is broken (`connected` is False) it keeps its leases for the grace and
gets no new ones. All of this is memory of one coordinator on one event loop; the truth about leases is the database's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from stepgres_service.errors import Reason, StepgresError
from stepgres_service.store.tasks import LeasedTask

#: Seconds in which a stream that the engine ended can still write what waits, and say why it ends.
_LAST_WORDS_S = 5.0


@dataclass(slots=True)
class AckItem:
    """The verdict on one result."""

    token: bytes
    #: 1 recorded, 2 duplicate, 3 stale, 4 rejected, 5 busy: the numbers of AckVerdict.
    verdict: int
    reason: Reason | None = None
    message: str = ""
    retry_after_ms: int = 0


@dataclass(slots=True)
class Stop:
    """Tells the worker to stop tasks: its run ended, or the lease is lost."""

    tokens: list[bytes]
    reason: str
    #: True: somebody else has the tasks now (LeaseLost); False: their runs ended (CancelTasks).
    lost: bool = False


@dataclass(slots=True)
class DrainNotice:
    """Tells the worker to go to another coordinator."""

    deadline_ms: int
    reason: str


@dataclass(slots=True)
class Knock:
    """Asks a worker that has been silent for a sign of life."""


@dataclass(slots=True)
class Outgoing:
    """What waits to be written to a stream, in the order of writing."""

    acks: list[AckItem] = field(default_factory=list)
    tasks: list[tuple[bytes, LeasedTask]] = field(default_factory=list)
    control: list[Stop | DrainNotice | Knock] = field(default_factory=list)


class Session:
    """A worker's session at this coordinator.

    Args:
        session_id: its UUID.
        epoch: raised by each resume; a renewal proves with it that the session is still here.
        worker: name for people.
        worker_id: the name's interned number.
        handlers: the (scope, handler) pairs it serves.
        grace_s: seconds its leases wait when the stream breaks.
        max_credits: credits and leases together never exceed this.
    """

    __slots__ = (
        "_outgoing",
        "_wake",
        "connected",
        "credits",
        "cut",
        "ended",
        "epoch",
        "grace_s",
        "handlers",
        "id",
        "last_seen",
        "leases",
        "max_credits",
        "unacked",
        "worker",
        "worker_id",
        "writing_since",
    )

    def __init__(
        self,
        session_id: UUID,
        epoch: int,
        worker: str,
        worker_id: int,
        handlers: frozenset[tuple[str, str]],
        grace_s: float,
        max_credits: int,
    ) -> None:
        self.id = session_id.bytes
        self.epoch = epoch
        self.worker = worker
        self.worker_id = worker_id
        self.handlers = handlers
        self.grace_s = grace_s
        self.max_credits = max_credits
        #: Tasks the worker asked for and did not get yet.
        self.credits = 0
        #: Token of each lease -> monotonic time at which its timeout is enforced here.
        self.leases: dict[bytes, float] = {}
        #: Results that came in and are not acknowledged.
        self.unacked = 0
        self.connected = True
        #: Monotonic time of the last frame.
        self.last_seen = asyncio.get_running_loop().time()
        #: Why the engine ended the stream; None while it lives.
        self.ended: StepgresError | None = None
        #: Monotonic time since which a frame waits for the worker to read; infinite while none does.
        self.writing_since = math.inf
        #: Breaks the stream without a word; set by who serves it.
        self.cut: Callable[[], object] = lambda: None
        self._outgoing = Outgoing()
        self._wake = asyncio.Event()

    @property
    def unread(self) -> int:
        """Verdicts that wait to be written."""
        return len(self._outgoing.acks)

    @property
    def occupied(self) -> bool:
        """Whether its worker is connected and waits for something: a task's end, or a verdict."""
        return self.connected and bool(self.leases or self.unacked)

    def grant(self, credits: int) -> None:
        """Adds credits, cut to what the session may have in all."""
        # A task whose result has come occupies its slot no more, though its lease lasts until the commit.
        occupied = max(0, len(self.leases) - self.unacked)
        self.credits = max(0, min(self.credits + credits, self.max_credits - occupied))

    def send_task(self, token: bytes, task: LeasedTask) -> None:
        """Queues a task; bounded by the credits."""
        self._outgoing.tasks.append((token, task))
        self._wake.set()

    def send_acks(self, acks: Iterable[AckItem]) -> None:
        """Queues verdicts; bounded by the results that came in."""
        self._outgoing.acks.extend(acks)
        self._wake.set()

    def send_control(self, frame: Stop | DrainNotice | Knock) -> None:
        """Queues a control frame, behind the tasks that are queued already."""
        self._outgoing.control.append(frame)
        self._wake.set()

    def end(self, error: StepgresError) -> None:
        """Makes the stream end with an error, or without it when the worker does not read; the first one counts."""
        if self.ended is None:
            self.ended = error
            self._wake.set()
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.cut)

    async def outgoing(self) -> Outgoing:
        """Waits for something to write and takes it.

        Raises:
            StepgresError: the engine ended the stream; nothing is left to write.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting = self._outgoing
            if waiting.acks or waiting.tasks or waiting.control:
                self._outgoing = Outgoing()
                if self.ended is not None:
                    self._wake.set()
                return waiting
            if self.ended is not None:
                raise self.ended
