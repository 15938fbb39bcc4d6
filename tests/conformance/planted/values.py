"""Faults in what a worker reads and writes: values, and small fields."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from stepgres.v1 import worker_pb2
from stepgres_worker import Context, _executor, _json, _rpc, _session, _worker
from stepgres_worker._host import WorkerHost
from stepgres_worker._link import Link
from stepgres_worker._registry import Handler
from stepgres_worker._session import Session
from tests.conformance.planted.fault import fault


@fault
def loses_precision() -> None:
    """Reads every number as a float."""
    _json.loads = lambda data: json.loads(data, parse_int=float)


@fault
def cuts_texts() -> None:
    """Sends texts in a narrower character set."""
    whole = _json.dumps
    _json.dumps = lambda value: whole(value).decode().encode("cp1252", "replace").decode("cp1252").encode()


@fault
def dies_of_invalid_output() -> None:
    """Ends when a handler returns what is no JSON."""
    whole = _executor._outcome.completed

    def completed(value: Any, max_bytes: int) -> Any:
        outcome = whole(value, max_bytes)
        if isinstance(outcome, worker_pb2.Failed) and outcome.code == "INVALID_OUTPUT":
            os._exit(1)
        return outcome

    _executor._outcome.completed = completed


@fault
def asks_for_every_input() -> None:
    """Asks GetRunInput for each task."""

    async def run_input(self: WorkerHost, execution: Any) -> bytes:
        return await self._ask(execution.task.run_id, execution.token)

    async def ask(self: WorkerHost, _run_id: str, token: bytes) -> bytes:
        request = worker_pb2.GetRunInputRequest(token=token)
        return (await self._client.call(_rpc.GET_RUN_INPUT, request)).input

    WorkerHost.run_input, WorkerHost._ask = run_input, ask


@fault
def asks_once_for_an_input() -> None:
    """Fails a task whose GetRunInput was not answered."""

    async def ask(self: WorkerHost, _run_id: str, token: bytes) -> bytes:
        request = worker_pb2.GetRunInputRequest(token=token)
        return (await self._client.call(_rpc.GET_RUN_INPUT, request, retry=False)).input

    WorkerHost._ask = ask


@fault
def believes_in_better_times() -> None:
    """Tries again whatever the answer to Hello was."""
    _worker._FATAL = frozenset()


@fault
def executes_what_comes_late() -> None:
    """Executes what comes over a draining stream after the next one's Hello."""
    Link.supersede = lambda self: None


@fault
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


@fault
def does_anything() -> None:
    """Lets another handler execute what it has none for."""
    whole = Session.receive_tasks

    def receive(self: Session, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        for task in tasks:
            if self._registry.get(task.handler) is None:
                task.handler = "echo"
            whole(self, [task])

    Session.receive_tasks = receive


@fault
def waits_for_a_coordinator() -> None:
    """Stops only while it has a stream."""
    whole = _worker.Worker._done
    _worker.Worker._done = lambda self, deadline: whole(self, deadline) and self._session.wake is not _session._ignore


@fault
def hides_its_version() -> None:
    """Leaves Hello.sdk_version empty."""
    _session.__version__ = ""


@fault
def describes_nothing() -> None:
    """Sends no description of a handler."""
    whole = Handler.message

    def message(self: Handler) -> worker_pb2.Handler:
        made = whole(self)
        made.description = ""
        return made

    Handler.message = message


@fault
def is_always_the_same() -> None:
    """Has the same instance id in each process."""
    _session.secrets = SimpleNamespace(token_bytes=lambda count: bytes(range(count)))  # type: ignore[assignment]


@fault
def forgets_outputs() -> None:
    """Gives a step the run's input only."""
    _change_input(lambda given: {"run": given["run"]} if "run" in given else given)


@fault
def counts_from_one() -> None:
    """Counts the elements of a map from 1."""
    _change_input(lambda given: {**given, "index": given["index"] + 1} if "index" in given else given)


@fault
def flattens_params() -> None:
    """Gives handlers those params only that are numbers or texts."""
    whole = Context.params.fget
    assert whole is not None
    Context.params = property(
        lambda self: {name: value for name, value in whole(self).items() if isinstance(value, str | int | float)}
    )


@fault
def has_a_limit_of_its_own() -> None:
    """Takes a quarter of Welcome.max_output_bytes for the limit."""
    _change_limit(lambda limit: limit // 4)


@fault
def knows_no_limit() -> None:
    """Sends outputs of any size."""
    _change_limit(lambda limit: sys.maxsize)


@fault
def keeps_progress_to_itself() -> None:
    """Reports nothing."""
    Session.progress = lambda self, token, fraction, message: None


@fault
def makes_inputs_up() -> None:
    """Gives handlers an empty array for the run's input."""
    whole = WorkerHost.run_input

    async def run_input(self: WorkerHost, execution: Any) -> bytes:
        await whole(self, execution)
        return b"[]"

    WorkerHost.run_input = run_input


@fault
def hides_codes() -> None:
    """Sends HANDLER_ERROR whatever the code is."""
    _change_failure(lambda failed: setattr(failed, "code", "HANDLER_ERROR"))


@fault
def retries_everything() -> None:
    """Sends no failure as final."""
    _change_failure(lambda failed: setattr(failed, "non_retryable", False))


@fault
def takes_seconds_for_milliseconds() -> None:
    """Divides retry_after_ms by 1,000."""

    def change(failed: worker_pb2.Failed) -> None:
        if failed.HasField("retry_after_ms"):
            failed.retry_after_ms //= 1000

    _change_failure(change)


@fault
def takes_zero_for_nothing() -> None:
    """Leaves out a delay of 0."""

    def change(failed: worker_pb2.Failed) -> None:
        if not failed.retry_after_ms:
            failed.ClearField("retry_after_ms")

    _change_failure(change)


@fault
def hides_texts() -> None:
    """Sends the type of an ordinary error only."""

    def change(failed: worker_pb2.Failed) -> None:
        if failed.code == "HANDLER_ERROR":
            failed.message = "ValueError"

    _change_failure(change)


@fault
def stumbles_over_strangers() -> None:
    """Opens another stream over a token that it does not know."""

    def receive(self: Session, frame: worker_pb2.CancelTasks) -> None:
        self._drop([self.leases[token].token for token in frame.tokens], "")

    Session.receive_cancel = receive


@fault
def makes_tokens_up() -> None:
    """Sends a result of a task that nobody has given it, beside its own."""
    whole = Session._result_frame

    def frame(self: Session) -> worker_pb2.WorkRequest:
        made = whole(self)
        made.result_batch.results.add(token=b"guessed", released=worker_pb2.Released())
        return made

    Session._result_frame = frame


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
