"""One warning for each failed attempt, where the worker runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stepgres.v1 import flow_pb2
from stepgres_worker import Flow, TaskError, Worker
from stepgres_worker.testing import FakeTransport, ManualClock, TaskFailed
from tests.unit.sdk.gates import Gate, ThreadGate, acquire


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="stepgres_worker")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "stepgres_worker"]


@pytest.mark.parametrize("sync", [True, False])
async def test_an_exception_is_told_with_its_traceback(
    fake: FakeTransport, caplog: pytest.LogCaptureFixture, sync: bool
) -> None:
    worker = Worker(transport=fake)

    def divide(input: Any) -> float:
        return 1 / int(input["item"])

    async def later(input: Any) -> float:
        await asyncio.sleep(0)
        return divide(input)

    worker.step("sums.divide")(divide if sync else later)
    async with fake.serving(worker):
        task = fake.send_task("sums.divide", {"item": 0}, index=7, attempt=2, run_id="r-1", is_map=True)
        with pytest.raises(TaskFailed) as failure:
            await task.result()
    assert lines(caplog) == [
        "sums.divide[7] of run r-1: attempt 2 failed, retryable: HANDLER_ERROR: ZeroDivisionError: division by zero"
    ]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert 'return 1 / int(input["item"])' in caplog.text
    assert "_executor.py" not in caplog.text + failure.value.details  # how the worker called it is no news
    assert (record.run_id, record.step, record.attempt) == ("r-1", "divide", 2)  # type: ignore[attr-defined]


async def test_a_task_error_is_one_line(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(transport=fake)

    @worker.step("charge")
    async def charge(input: Any) -> None:
        try:
            raise ConnectionError("reset")
        except ConnectionError as error:
            raise TaskError("the bank\nis away", code="BANK", retryable=False) from error

    async with fake.serving(worker):
        with pytest.raises(TaskFailed):
            await fake.run_task("charge", flow="shop", step="pay", run_id="r")
    assert lines(caplog) == [
        "shop.pay[0] (handler charge) of run r: attempt 1 failed, not retryable: BANK: the bank is away"
    ]
    assert "Traceback" not in caplog.text


async def test_an_output_that_is_no_json_is_told(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(transport=fake)
    worker.step("f.s")(lambda input: {1, 2})
    async with fake.serving(worker):
        with pytest.raises(TaskFailed):
            await fake.run_task("f.s", run_id="r")
    (line,) = lines(caplog)
    assert line.startswith("f.s[0] of run r: attempt 1 failed, not retryable: INVALID_OUTPUT: the handler returned")


async def test_the_attempts_of_a_registered_flow_are_counted(
    fake: FakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow("etl", max_attempts=2)

    @flow.step
    def fetch(input: Any) -> None:
        raise TaskError("no")

    @flow.step(max_attempts=5)
    def load(input: Any) -> None:
        raise TaskError("no")

    def created(request: flow_pb2.CreateFlowRequest) -> flow_pb2.CreateFlowResponse:
        steps = [flow_pb2.Step(definition=step) for step in request.steps]
        stored = flow_pb2.Flow(slug=request.slug, version=1, steps=steps, max_attempts=request.max_attempts)
        return flow_pb2.CreateFlowResponse(flow=stored)

    fake.answer("CreateFlow", created)
    async with fake.serving(Worker(flow, transport=fake)):
        for step, attempt in (("fetch", 1), ("fetch", 2), ("load", 2)):
            with pytest.raises(TaskFailed):
                await fake.run_task(f"etl.{step}", attempt=attempt, run_id="r")
        other = fake.send_task("etl.fetch", run_id="r")
        with pytest.raises(TaskFailed):
            await other.result()
    told = [line.partition("run r: ")[2].partition(": ")[0] for line in lines(caplog)]
    assert told[:3] == [
        "attempt 1 of 2 failed, retryable",
        "attempt 2 of 2 failed, the last",
        "attempt 2 of 5 failed, retryable",
    ]


async def test_cancelled_lost_and_handed_back_tasks_are_not_failures(
    fake: FakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    gate, thread = Gate(), ThreadGate()

    def failing(input: Any) -> None:
        thread(input)
        raise ValueError("nobody wants to know")

    worker = Worker(transport=fake)
    worker.step("gate")(gate)
    worker.step("thread")(failing)
    async with fake.serving(worker):
        for handler in ("gate", "thread"):
            fake.cancel(await started(fake, gate, thread, handler))
            fake.lose(await started(fake, gate, thread, handler))
        await gate.has_cancelled(2)
        thread.go.set()
        for _ in range(2):
            await acquire(thread.returned)
        await started(fake, gate, thread, "gate")
        worker.stop(now=True)
    assert [line for line in lines(caplog) if "failed" in line] == []


async def started(fake: FakeTransport, gate: Gate, thread: ThreadGate, handler: str) -> Any:
    """A task of a handler, which has begun."""
    before = len(gate.started)
    task = fake.send_task(handler)
    await (gate.has_started(before + 1) if handler == "gate" else acquire(thread.began))
    return task


async def test_a_timeout_is_told(fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    worker = Worker(transport=fake, clock=clock)
    worker.step("f.s")(gate)
    async with fake.serving(worker):
        task = fake.send_task("f.s", timeout_s=5, run_id="r")
        await gate.has_started(1)
        await clock.advance(6)
        with pytest.raises(TaskFailed):
            await task.result()
    assert lines(caplog) == ["f.s[0] of run r: attempt 1 failed, retryable: TIMEOUT: the handler took longer than 5 s"]


async def test_texts_that_no_file_takes_are_cleaned(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(transport=fake)

    @worker.step("f.s")
    def handler(input: Any) -> None:
        raise ValueError("\ud800 " + "x" * 10_000)

    async with fake.serving(worker):
        with pytest.raises(TaskFailed):
            await fake.run_task("f.s")
    caplog.text.encode()
    (line,) = lines(caplog)
    assert len(line) < 700
