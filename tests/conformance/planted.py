"""The Python conformance worker with one fault planted: python -m tests.conformance.planted FAULT.

Each fault breaks one thing in the inside of the SDK and leaves the rest as it is, so that a kit which judges right fails
exactly the points that are about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stepgres.v1 import worker_pb2
from stepgres_worker import Context, StepgresError, _executor, _json, _rpc, _session, _transport, _worker
from stepgres_worker._host import WorkerHost
from stepgres_worker._link import Link
from stepgres_worker._registry import Handler
from stepgres_worker._session import Session

_WORKER = Path(__file__).resolve().parents[2] / "worker_sdk" / "python" / "conformance" / "worker.py"
_USUAL_LIMIT = ("grpc.max_receive_message_length", 4 << 20)
_FAULTS: dict[str, Callable[[], None]] = {}
Fault = Callable[[], None]


def _fault(plant: Fault) -> Fault:
    _FAULTS[plant.__name__] = plant
    return plant


@_fault
def none() -> None:
    """The worker as it is."""


# ------------------------------------------------------------------------------------------------ credits


@_fault
def exceeds_credits() -> None:
    """Grants twice as many credits as it has slots."""

    def grant(self: Session) -> int:
        granted = max(0, 2 * self.concurrency - self.executor.busy - self.credits)
        self.credits += granted
        return 0 if self.stopping or self.draining else granted

    Session._grant = grant


@_fault
def holds_slots() -> None:
    """Asks for more only when the whole batch is done."""
    whole, first = Session._grant, {"stream": 0}

    def grant(self: Session) -> int:
        if self.executor.busy and first["stream"] == self._stream_count:
            return 0
        first["stream"] = self._stream_count
        return whole(self)

    Session._grant = grant


@_fault
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


# ------------------------------------------------------------------------------------------------ results


@_fault
def no_resend() -> None:
    """Keeps results until their acks, but does not send them again after a reconnect."""
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        whole(self, welcome, wake)
        self._outbox.clear()

    Session.attach = attach


@_fault
def forgets_what_it_sent() -> None:
    """Forgets a result when it was sent, without waiting for the ack."""
    whole = Session._result_frame

    def frame(self: Session) -> worker_pb2.WorkRequest:
        made = whole(self)
        for result in made.result_batch.results:
            self.kept.pop(result.token, None)
        return made

    Session._result_frame = frame


@_fault
def busy_at_once() -> None:
    """Sends again at once what was BUSY."""
    whole = Session._send_later
    Session._send_later = lambda self, tokens, _delay_s: whole(self, tokens, 0.0)


@_fault
def keeps_stale() -> None:
    """Believes that STALE is not final."""
    _session._FINAL_AND_QUIET = _session._FINAL_AND_QUIET - {worker_pb2.ACK_VERDICT_STALE}
    whole = Session.receive_acks

    def receive(self: Session, acks: Iterable[worker_pb2.Ack]) -> None:
        whole(self, [ack for ack in acks if ack.verdict != worker_pb2.ACK_VERDICT_STALE])

    Session.receive_acks = receive


@_fault
def keeps_what_it_does_not_know() -> None:
    """Waits for another ack when a verdict is none of its own."""
    whole = Session.receive_acks

    def receive(self: Session, acks: Iterable[worker_pb2.Ack]) -> None:
        whole(self, [ack for ack in acks if ack.verdict in worker_pb2.AckVerdict.values()])

    Session.receive_acks = receive


@_fault
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


@_fault
def large_frames() -> None:
    """Does not look at Welcome.max_frame_bytes."""
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        whole(self, welcome, wake)
        self._frame_bytes = _session.CUT_BYTES

    Session.attach = attach


# ------------------------------------------------------------------------------------------------ stops


@_fault
def ignores_cancel() -> None:
    """Does not hear CancelTasks."""
    Session.receive_cancel = lambda self, frame: None


@_fault
def ignores_lost() -> None:
    """Does not hear LeaseLost."""
    Session.receive_lost = lambda self, frame: None


@_fault
def never_lets_go() -> None:
    """Goes on with what it holds though its session is over: hears neither Welcome.resumed nor LeaseLost."""
    ignores_lost()
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        if not welcome.resumed:
            self.welcome.session_id = b""
        whole(self, welcome, wake)

    Session.attach = attach


@_fault
def ignores_timeouts() -> None:
    """Lets handlers take as long as they like."""
    Session.expire = lambda self, execution: None


# ------------------------------------------------------------------------------------------------ streams


@_fault
def no_heartbeats() -> None:
    """Answers a Ping, and sends nothing of itself but progress."""
    whole = Link._beat

    def beat(self: Link) -> None:
        if self._session.has_progress:
            whole(self)
        else:
            self._arm()

    Link._beat = beat


@_fault
def beats_half_as_often() -> None:
    """Sends a heartbeat in every other period."""
    Link._period_s = lambda self: 2 * self._session.welcome.heartbeat_ms / 1000


@_fault
def ignores_ping() -> None:
    """Does not answer a Ping."""
    _skip("ping")


@_fault
def ignores_drain() -> None:
    """Stays until the coordinator closes the stream."""
    _skip("drain")


@_fault
def closes_before_it_opens() -> None:
    """Lets its stream go when it hears Drain, and opens the next one then."""
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") == "drain":
            self._stream.cancel()
        else:
            whole(self, frame)

    Link._receive = receive


@_fault
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


@_fault
def throws_late_tasks_away() -> None:
    """Drops what came over a draining stream though the next one was refused."""
    whole = Link.restore

    def restore(self: Link) -> None:
        self._held_back.clear()
        whole(self)

    Link.restore = restore


@_fault
def dies_of_a_fault_of_its_own() -> None:
    """Ends when a stream ends with INVALID_ARGUMENT after its Welcome."""
    whole = _worker.Worker._open

    async def open_stream(self: _worker.Worker, old: Link | None) -> Link:
        if old is not None and old.error is not None and _worker._is_fatal(old.error):
            raise old.error
        return await whole(self, old)

    _worker.Worker._open = open_stream


@_fault
def takes_small_messages() -> None:
    """Has its library's usual limit of 4 MiB on the stream."""
    _transport._STREAM_OPTIONS = (*_transport._STREAM_OPTIONS[1:], _USUAL_LIMIT)


@_fault
def takes_small_inputs() -> None:
    """Has its library's usual limit of 4 MiB for GetRunInput."""
    _transport.CHANNEL_OPTIONS = (*_transport.CHANNEL_OPTIONS[1:], _USUAL_LIMIT)


@_fault
def dies_of_unknown_frames() -> None:
    """Opens another stream over a frame that it does not know."""
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") is None:
            raise ValueError("what is this?")
        whole(self, frame)

    Link._receive = receive


@_fault
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


@_fault
def lists_nothing_as_held() -> None:
    """Resumes its session without the tokens that it holds."""
    whole = Session.hello

    def hello(self: Session) -> worker_pb2.WorkRequest:
        frame = whole(self)
        del frame.hello.held_tokens[:]
        return frame

    Session.hello = hello


@_fault
def never_resumes() -> None:
    """A minimal worker: begins a new session with each stream."""
    whole = Session.hello

    def hello(self: Session) -> worker_pb2.WorkRequest:
        if self.welcome.session_id:
            self._drop([*self.leases, *self.kept], "a minimal worker resumes nothing")
            self.welcome.session_id = b""
        return whole(self)

    Session.hello = hello


@_fault
def knocks_without_pause() -> None:
    """Tries again at once when no coordinator takes its stream."""
    _worker.full_jitter_s = lambda *_, **__: 0.0  # type: ignore[assignment]


# ------------------------------------------------------------------------------------------------ values


@_fault
def loses_precision() -> None:
    """Reads every number as a float."""
    _json.loads = lambda data: json.loads(data, parse_int=float)


@_fault
def cuts_texts() -> None:
    """Sends texts in a narrower character set."""
    whole = _json.dumps
    _json.dumps = lambda value: whole(value).decode().encode("cp1252", "replace").decode("cp1252").encode()


@_fault
def dies_of_invalid_output() -> None:
    """Ends when a handler returns what is no JSON."""
    whole = _executor._outcome.completed

    def completed(value: Any, max_bytes: int) -> Any:
        outcome = whole(value, max_bytes)
        if isinstance(outcome, worker_pb2.Failed) and outcome.code == "INVALID_OUTPUT":
            os._exit(1)
        return outcome

    _executor._outcome.completed = completed


@_fault
def asks_for_every_input() -> None:
    """Asks GetRunInput for each task."""

    async def run_input(self: WorkerHost, execution: Any) -> bytes:
        return await self._ask(execution.task.run_id, execution.token)

    async def ask(self: WorkerHost, _run_id: str, token: bytes) -> bytes:
        request = worker_pb2.GetRunInputRequest(token=token)
        return (await self._client.call(_rpc.GET_RUN_INPUT, request)).input

    WorkerHost.run_input, WorkerHost._ask = run_input, ask


@_fault
def asks_once_for_an_input() -> None:
    """Fails a task whose GetRunInput was not answered."""

    async def ask(self: WorkerHost, _run_id: str, token: bytes) -> bytes:
        request = worker_pb2.GetRunInputRequest(token=token)
        return (await self._client.call(_rpc.GET_RUN_INPUT, request, retry=False)).input

    WorkerHost._ask = ask


@_fault
def believes_in_better_times() -> None:
    """Tries again whatever the answer to Hello was."""
    _worker._FATAL = frozenset()


@_fault
def executes_what_comes_late() -> None:
    """Executes what comes over a draining stream after the next one's Hello."""
    Link.supersede = lambda self: None


@_fault
def executes_twice() -> None:
    """Does not look whether it has a token already."""
    whole = Session.receive_tasks

    def receive(self: Session, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        for task in tasks:
            self.leases.pop(task.token, None)
            whole(self, [task])

    whole_finish = Session.finish

    def finish(self: Session, execution: Any, outcome: Any) -> None:
        self.leases[execution.token] = execution
        whole_finish(self, execution, outcome)

    Session.receive_tasks, Session.finish = receive, finish


@_fault
def does_anything() -> None:
    """Lets another handler execute what it has none for."""
    whole = Session.receive_tasks

    def receive(self: Session, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        for task in tasks:
            if self._registry.get(task.handler) is None:
                task.handler = "echo"
            whole(self, [task])

    Session.receive_tasks = receive


@_fault
def waits_for_a_coordinator() -> None:
    """Stops only while it has a stream."""
    whole = _worker.Worker._done
    _worker.Worker._done = lambda self, deadline: whole(self, deadline) and self._session.wake is not _session._ignore


# ------------------------------------------------------------------------------------------------ small ones


@_fault
def hides_its_version() -> None:
    """Leaves Hello.sdk_version empty."""
    _session.__version__ = ""


@_fault
def describes_nothing() -> None:
    """Sends no description of a handler."""
    whole = Handler.message

    def message(self: Handler) -> worker_pb2.Handler:
        made = whole(self)
        made.description = ""
        return made

    Handler.message = message


@_fault
def is_always_the_same() -> None:
    """Has the same instance id in each process."""
    _session.secrets = SimpleNamespace(token_bytes=lambda count: bytes(range(count)))  # type: ignore[assignment]


@_fault
def forgets_outputs() -> None:
    """Gives a step the run's input only."""
    _change_input(lambda given: {"run": given["run"]} if "run" in given else given)


@_fault
def counts_from_one() -> None:
    """Counts the elements of a map from 1."""
    _change_input(lambda given: {**given, "index": given["index"] + 1} if "index" in given else given)


@_fault
def flattens_params() -> None:
    """Gives handlers those params only that are numbers or texts."""
    whole = Context.params.fget
    assert whole is not None
    Context.params = property(
        lambda self: {name: value for name, value in whole(self).items() if isinstance(value, str | int | float)}
    )


@_fault
def has_a_limit_of_its_own() -> None:
    """Takes a quarter of Welcome.max_output_bytes for the limit."""
    _change_limit(lambda limit: limit // 4)


@_fault
def knows_no_limit() -> None:
    """Sends outputs of any size."""
    _change_limit(lambda limit: sys.maxsize)


@_fault
def keeps_progress_to_itself() -> None:
    """Reports nothing."""
    Session.progress = lambda self, token, fraction, message: None


@_fault
def makes_inputs_up() -> None:
    """Gives handlers an empty array for the run's input."""
    whole = WorkerHost.run_input

    async def run_input(self: WorkerHost, execution: Any) -> bytes:
        await whole(self, execution)
        return b"[]"

    WorkerHost.run_input = run_input


@_fault
def hides_codes() -> None:
    """Sends HANDLER_ERROR whatever the code is."""
    _change_failure(lambda failed: setattr(failed, "code", "HANDLER_ERROR"))


@_fault
def retries_everything() -> None:
    """Sends no failure as final."""
    _change_failure(lambda failed: setattr(failed, "non_retryable", False))


@_fault
def takes_seconds_for_milliseconds() -> None:
    """Divides retry_after_ms by 1,000."""

    def change(failed: worker_pb2.Failed) -> None:
        if failed.HasField("retry_after_ms"):
            failed.retry_after_ms //= 1000

    _change_failure(change)


@_fault
def takes_zero_for_nothing() -> None:
    """Leaves out a delay of 0."""

    def change(failed: worker_pb2.Failed) -> None:
        if not failed.retry_after_ms:
            failed.ClearField("retry_after_ms")

    _change_failure(change)


@_fault
def hides_texts() -> None:
    """Sends the type of an ordinary error only."""

    def change(failed: worker_pb2.Failed) -> None:
        if failed.code == "HANDLER_ERROR":
            failed.message = "ValueError"

    _change_failure(change)


@_fault
def stumbles_over_strangers() -> None:
    """Opens another stream over a token that it does not know."""

    def receive(self: Session, frame: worker_pb2.CancelTasks) -> None:
        self._drop([self.leases[token].token for token in frame.tokens], "")

    Session.receive_cancel = receive


@_fault
def makes_tokens_up() -> None:
    """Sends a result of a task that nobody has given it, beside its own."""
    whole = Session._result_frame

    def frame(self: Session) -> worker_pb2.WorkRequest:
        made = whole(self)
        made.result_batch.results.add(token=b"guessed", released=worker_pb2.Released())
        return made

    Session._result_frame = frame


# ------------------------------------------------------------------------------------------------ leaving


@_fault
def drops_goodbye() -> None:
    """Closes its stream without a word."""

    async def leave(self: Link, _goodbye: worker_pb2.WorkRequest, _timeout_s: float) -> None:
        await self.close()

    Link.leave = leave


@_fault
def ignores_late_tasks() -> None:
    """Does not look at tasks that come while it stops."""
    whole = Session.receive_tasks

    def receive(self: Session, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        if not self.stopping:
            whole(self, tasks)

    Session.receive_tasks = receive


@_fault
def leaves_at_once() -> None:
    """Says Goodbye on a stop without waiting for anything."""
    _worker.Worker._done = lambda self, _deadline: self._stop_asked


def _change_input(change: Callable[[Any], Any]) -> None:
    whole = _executor.Execution.call
    _executor.Execution.call = lambda self, value: whole(self, change(value))


def _change_limit(change: Callable[[int], int]) -> None:
    whole = Session.attach

    def attach(self: Session, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        whole(self, welcome, wake)
        self._host.max_output_bytes = change(welcome.max_output_bytes)

    Session.attach = attach


def _change_failure(change: Callable[[worker_pb2.Failed], None]) -> None:
    whole = _executor._outcome.failed

    def failed(error: BaseException, handler: Handler) -> worker_pb2.Failed:
        made = whole(error, handler)
        change(made)
        return made

    _executor._outcome.failed = failed


def _skip(kind: str) -> None:
    whole = Link._receive

    def receive(self: Link, frame: worker_pb2.WorkResponse) -> None:
        if frame.WhichOneof("frame") != kind:
            whole(self, frame)

    Link._receive = receive


def main() -> None:
    _FAULTS[sys.argv[1]]()
    spec = importlib.util.spec_from_file_location("conformance_worker", _WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


if __name__ == "__main__":
    main()
