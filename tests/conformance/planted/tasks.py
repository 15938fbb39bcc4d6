"""Faults in what a worker does with tasks: credits, results, stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stepgres.v1 import worker_pb2
from stepgres_worker import _session
from stepgres_worker._session import Session
from tests.conformance.planted.fault import fault


@fault
def exceeds_credits() -> None:
    """Grants twice as many credits as it has slots."""

    def grant(self: Session) -> int:
        granted = max(0, 2 * self.concurrency - self.executor.busy - self.credits)
        self.credits += granted
        return 0 if self.stopping or self.draining else granted

    Session._grant = grant


@fault
def holds_slots() -> None:
    """Asks for more only when the whole batch is done."""
    whole, first = Session._grant, {"stream": 0}

    def grant(self: Session) -> int:
        if self.executor.busy and first["stream"] == self._stream_count:
            return 0
        first["stream"] = self._stream_count
        return whole(self)

    Session._grant = grant


@fault
def frees_slots_by_acks() -> None:
    """Takes a slot for free when its result is acknowledged."""
    whole = Session._grant

    def grant(self: Session) -> int:
        slots = self.concurrency
        self.concurrency -= len(self.kept)
        try:
            return whole(self)
        finally:
            self.concurrency = slots

    Session._grant = grant


@fault
def no_resend() -> None:
    """Keeps results until their acks, but does not send them again after a reconnect."""
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        whole(self, welcome, wake)
        self._outbox.clear()

    Session.attach = attach


@fault
def forgets_what_it_sent() -> None:
    """Forgets a result when it was sent, without waiting for the ack."""
    whole = Session._result_frame

    def frame(self: Session) -> worker_pb2.WorkRequest:
        made = whole(self)
        for result in made.result_batch.results:
            self.kept.pop(result.token, None)
        return made

    Session._result_frame = frame


@fault
def busy_at_once() -> None:
    """Sends again at once what was BUSY."""
    whole = Session._send_later
    Session._send_later = lambda self, tokens, _delay_s: whole(self, tokens, 0.0)


@fault
def keeps_stale() -> None:
    """Believes that STALE is not final."""
    _session._FINAL_AND_QUIET = _session._FINAL_AND_QUIET - {worker_pb2.ACK_VERDICT_STALE}
    whole = Session.receive_acks

    def receive(self: Session, acks: Iterable[worker_pb2.Ack]) -> None:
        whole(self, [ack for ack in acks if ack.verdict != worker_pb2.ACK_VERDICT_STALE])

    Session.receive_acks = receive


@fault
def keeps_what_it_does_not_know() -> None:
    """Waits for another ack when a verdict is none of its own."""
    whole = Session.receive_acks

    def receive(self: Session, acks: Iterable[worker_pb2.Ack]) -> None:
        whole(self, [ack for ack in acks if ack.verdict in worker_pb2.AckVerdict.values()])

    Session.receive_acks = receive


@fault
def keeps_results_of_the_session_before() -> None:
    """Sends kept results in a session that is not theirs, whatever LeaseLost behind Welcome says."""
    whole, whole_lost = Session.attach, Session.receive_lost
    others = dict[bytes, Any]()

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        if not welcome.resumed:
            others.update(self.kept)
        whole(self, welcome, wake)
        self.kept.update(others)

    def receive(self: Session, frame: worker_pb2.LeaseLost) -> None:
        for token in set(frame.tokens) - set(others):
            whole_lost(self, worker_pb2.LeaseLost(tokens=[token]))

    Session.attach, Session.receive_lost = attach, receive


@fault
def large_frames() -> None:
    """Does not look at Welcome.max_frame_bytes."""
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        whole(self, welcome, wake)
        self._frame_bytes = _session.CUT_BYTES

    Session.attach = attach


@fault
def ignores_cancel() -> None:
    """Does not hear CancelTasks."""
    Session.receive_cancel = lambda self, frame: None


@fault
def ignores_lost() -> None:
    """Does not hear LeaseLost."""
    Session.receive_lost = lambda self, frame: None


@fault
def never_lets_go() -> None:
    """Goes on with what it holds though its session is over: hears neither Welcome.resumed nor LeaseLost."""
    ignores_lost()
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        if not welcome.resumed:
            self.welcome.session_id = b""
        whole(self, welcome, wake)

    Session.attach = attach


@fault
def ignores_timeouts() -> None:
    """Lets handlers take as long as they like."""
    Session.expire = lambda self, execution: None
