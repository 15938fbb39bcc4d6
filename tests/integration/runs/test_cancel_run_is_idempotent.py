"""CancelRun: ends a run once, tells its workers, and says what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from stepgres.v1 import common_pb2, run_pb2, run_pb2_grpc, worker_pb2
from tests.integration.conftest import channel_to
from tests.support.flows import define, ended_run, get_run, start_run
from tests.support.raw_worker import raw_worker


async def cancel(channel: grpc.aio.Channel, run_id: str, reason: str = "") -> run_pb2.CancelRunResponse:
    request = run_pb2.CancelRunRequest(run_id=run_id, reason=reason)
    return await run_pb2_grpc.RunServiceStub(channel).CancelRun(request)


async def test_a_cancelled_run_has_its_reason_and_stays_as_it_is(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], b=["a"])
    run_id = await start_run(channel, "f")
    first = await cancel(channel, run_id, "wrong month")
    assert first.cancelled
    assert first.run.status == common_pb2.RUN_STATUS_CANCELLED
    assert (first.run.error.code, first.run.error.message) == ("CANCELLED", "wrong month")
    assert {step.status for step in first.run.steps} == {common_pb2.STEP_STATUS_CANCELLED}
    again = await cancel(channel, run_id, "another reason")
    assert not again.cancelled
    assert again.run == first.run


async def test_without_a_reason_there_is_no_error(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    answer = await cancel(channel, await start_run(channel, "f"))
    assert answer.cancelled
    assert not answer.run.HasField("error")


async def test_fifty_callers_cancel_once(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    answers = await asyncio.gather(*(cancel(channel, run_id) for _ in range(50)))
    assert sum(answer.cancelled for answer in answers) == 1


async def test_a_completed_run_stays_completed(channel: grpc.aio.Channel) -> None:
    await define(channel, "nothing")
    answer = await cancel(channel, await start_run(channel, "nothing"))
    assert not answer.cancelled
    assert answer.run.status == common_pb2.RUN_STATUS_COMPLETED


async def test_workers_are_told_and_late_results_change_nothing(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", m=[], maps=["m"])
    run_id = await start_run(channel, "f", list(range(10)))
    async with raw_worker(channel, ["f.m"], credits=4) as worker:
        tasks = await worker.take_tasks(4)
        assert (await cancel(channel, run_id)).cancelled
        await worker.until(lambda: len(worker.cancelled) == 4)
        assert set(worker.cancelled) == {task.token for task in tasks}
        worker.complete(*tasks)
        acks = await worker.take_acks(4)
        assert {ack.verdict for ack in acks} == {worker_pb2.ACK_VERDICT_STALE}
        worker.grant(10)
        other = await start_run(channel, "f", [1])
        worker.complete(*await worker.take_tasks(1))  # the queued tasks of the cancelled run are gone
        assert (await ended_run(channel, other)).status == common_pb2.RUN_STATUS_COMPLETED
        assert worker.tasks == []
    assert (await get_run(channel, run_id)).steps[0].counts.completed == 0


async def test_workers_of_another_coordinator_are_told_without_a_comparison(
    start_coordinator: Callable[..., Any],
) -> None:
    settings = {"lease_s": 90, "heartbeat_s": 30}
    async with (
        start_coordinator(**settings) as here,
        start_coordinator(**settings) as there,
        channel_to(here) as channel,
        channel_to(there) as other,
    ):
        await define(channel, "f", a=[])
        run_id = await start_run(channel, "f")
        async with raw_worker(channel, ["f.a"], credits=1) as worker:
            (task,) = await worker.take_tasks(1)
            assert (await cancel(other, run_id)).cancelled
            await worker.until(lambda: worker.cancelled == [task.token])
