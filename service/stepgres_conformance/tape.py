"""Everything that went over the streams of one worker process, in order, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stepgres.v1 import worker_pb2


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that passed the proxy."""

    #: Monotonic seconds.
    at: float
    #: Number of its stream, from 1.
    stream: int
    #: True: the worker sent it; False: it was sent to the worker.
    from_worker: bool
    #: Name of its oneof; empty for one that the protocol does not know yet.
    kind: str
    #: The message in the oneof.
    body: Any
    #: Bytes of the whole frame.
    size: int


class Tape:
    """The frames of one worker process, the newest last.

    Frames of the coordinator that a point held back are not in it; those that it injected are.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        #: Streams that have ended -> position in `frames` at which they did.
        self.ended: dict[int, int] = {}
        #: Tokens that GetRunInput was asked with.
        self.input_calls: list[bytes] = []

    # ------------------------------------------------------------------------------------------------ frames

    def sent(self, kind: str, since: int = 0, stream: int | None = None) -> list[Frame]:
        """What the worker sent of one kind, from a position on."""
        return [f for f in self.frames[since:] if f.from_worker and f.kind == kind and stream in (None, f.stream)]

    def received(self, kind: str, since: int = 0, stream: int | None = None) -> list[Frame]:
        """What was sent to the worker of one kind, from a position on."""
        return [f for f in self.frames[since:] if not f.from_worker and f.kind == kind and stream in (None, f.stream)]

    def hellos(self) -> list[Frame]:
        """Every Hello."""
        return self.sent("hello")

    def welcomed(self) -> list[Frame]:
        """Every Welcome."""
        return self.received("welcome")

    @property
    def stream(self) -> int:
        """Number of the stream that was welcomed last; 0 before the first."""
        welcomed = self.welcomed()
        return welcomed[-1].stream if welcomed else 0

    # ------------------------------------------------------------------------------------------------ tasks

    def tasks(self, run_id: str = "", since: int = 0) -> list[worker_pb2.LeasedTask]:
        """Tasks that the worker was given, of one run or of all."""
        return [
            task
            for frame in self.received("task_batch", since)
            for task in frame.body.tasks
            if run_id in ("", task.run_id)
        ]

    def results(self, token: bytes | None = None, since: int = 0) -> Iterator[tuple[Frame, worker_pb2.Result]]:
        """Results that the worker sent, of one token or of all, each with its frame."""
        for frame in self.sent("result_batch", since):
            for result in frame.body.results:
                if token is None or result.token == token:
                    yield frame, result

    def acks(self, token: bytes | None = None, since: int = 0) -> list[worker_pb2.Ack]:
        """Verdicts that the worker was given."""
        return [
            ack for frame in self.received("ack_batch", since) for ack in frame.body.acks if token in (None, ack.token)
        ]

    def stopped(self) -> set[bytes]:
        """Tokens that the worker was told to stop."""
        return {
            token
            for kind in ("cancel_tasks", "lease_lost")
            for frame in self.received(kind)
            for token in frame.body.tokens
        }

    def in_flight(self) -> set[bytes]:
        """Tasks that the worker was given and has neither answered, nor been told to stop, nor let go with a stream."""
        newest = self.stream
        held = {token for frame in self.hellos() if frame.stream == newest for token in frame.body.held_tokens}
        given = {
            task.token
            for frame in self.received("task_batch")
            for task in frame.body.tasks
            if frame.stream >= newest or task.token in held
        }
        return given - {result.token for _, result in self.results()} - self.stopped()

    def granted(self, since: int = 0, stream: int | None = None) -> int:
        """Credits that the worker granted, alone or with results."""
        return sum(
            frame.body.credits for kind in ("credit_grant", "result_batch") for frame in self.sent(kind, since, stream)
        )

    def claimed(self, stream: int) -> int:
        """Slots that the worker claims to have on a stream: credits that are open, and tasks in its hands."""
        given = sum(len(frame.body.tasks) for frame in self.received("task_batch", stream=stream))
        return self.granted(stream=stream) - given + len(self.in_flight())
