"""RetryRun: a failed or cancelled run goes on, says so, and is watched and worked on as if it had never ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2
from tests.integration.conftest import channel_to
from tests.support.flows import cancel_run, define, ended_run, get_run, get_task, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of


async def retry(channel: grpc.aio.Channel, run_id: str) -> run_pb2.RetryRunResponse:
    return await run_pb2_grpc.RunServiceStub(channel).RetryRun(run_pb2.RetryRunRequest(run_id=run_id))


async def refusal(channel: grpc.aio.Channel, run_id: str) -> tuple[grpc.StatusCode, str | None, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await retry(channel, run_id)
    return error.value.code(), reason_of(error.value), error.value.details() or ""


async def test_finished_tasks_of_a_failed_run_are_not_executed_again(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], m=["a"], end=["m"], maps=["m"], step={"max_attempts": 1})
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a", "f.m", "f.end"], credits=20) as worker:
        worker.complete(*await worker.take_tasks(1), output=json.dumps(list(range(10))).encode())
        tasks = sorted(await worker.take_tasks(10), key=lambda task: task.task_index)
        worker.complete(*tasks[:9])
        await worker.take_acks(10)
        worker.fail(tasks[9], code="BROKEN", message="no")
        failed = await ended_run(channel, run_id)
        assert (failed.status, failed.error.code) == (common_pb2.RUN_STATUS_FAILED, "BROKEN")

        answer = await retry(channel, run_id)

        assert answer.retried
        assert answer.run.status == common_pb2.RUN_STATUS_STARTED
        assert not answer.run.HasField("error")
        assert not answer.run.HasField("end_time")
        steps = {step.step: step for step in answer.run.steps}
        assert steps["a"].status == common_pb2.STEP_STATUS_COMPLETED
        counts = steps["m"].counts
        assert (counts.total, counts.completed, counts.open, counts.failed) == (10, 9, 1, 0)
        (again,) = await worker.take_tasks(1)
        assert (again.step, again.task_index, again.attempt) == ("m", 9, 1)
        worker.complete(again)
        (end,) = await worker.take_tasks(1)
        assert end.step == "end"
        worker.complete(end)
        assert (await ended_run(channel, run_id)).status == common_pb2.RUN_STATUS_COMPLETED
    attempts = (await get_task(channel, run_id, "m", 9)).attempts
    assert [(attempt.attempt, attempt.code) for attempt in attempts] == [(1, "BROKEN"), (1, "")]


async def test_a_worker_that_still_has_the_cancelled_task_gets_it_anew_and_its_late_result_is_stale(
    channel: grpc.aio.Channel,
) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a"], credits=3) as worker:
        (old,) = await worker.take_tasks(1)
        await cancel_run(channel, run_id)
        await worker.until(lambda: old.token in worker.cancelled)
        assert (await retry(channel, run_id)).retried
        (new,) = await worker.take_tasks(1)
        assert new.token != old.token
        worker.complete(old, output=b'"late"')
        (ack,) = await worker.take_acks(1)
        assert ack.verdict == worker_pb2.ACK_VERDICT_STALE
        worker.complete(new, output=b'"good"')
        run = await ended_run(channel, run_id)
    assert json.loads(run.output) == {"a": "good"}
    assert new.token not in worker.cancelled


async def test_a_watch_with_the_cursor_of_the_end_sees_the_run_go_on(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], b=["a"])
    run_id = await start_run(channel, "f")
    await cancel_run(channel, run_id)
    stub = run_pb2_grpc.RunServiceStub(channel)
    frames = [frame async for frame in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run_id))]
    assert frames[-1].end.status == common_pb2.RUN_STATUS_CANCELLED

    await retry(channel, run_id)

    call = stub.WatchRun(run_pb2.WatchRunRequest(run_id=run_id, cursor=frames[-1].cursor))
    frame = await call.read()
    assert frame.WhichOneof("frame") == "change"
    assert frame.change.status == common_pb2.RUN_STATUS_STARTED
    assert {step.step for step in frame.change.steps} == {"a", "b"}
    async with raw_worker(channel, ["f.a", "f.b"], credits=1) as worker:
        for _ in range(2):
            worker.complete(*await worker.take_tasks(1))
            worker.grant(1)
        while (last := await call.read()) is not grpc.aio.EOF:
            frame = last
    assert frame.end.status == common_pb2.RUN_STATUS_COMPLETED


async def test_of_fifty_callers_one_retries(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    await cancel_run(channel, run_id)
    answers = await asyncio.gather(*(retry(channel, run_id) for _ in range(50)))
    assert sum(answer.retried for answer in answers) == 1
    assert {answer.run.status for answer in answers} == {common_pb2.RUN_STATUS_STARTED}


async def test_a_started_run_stays_as_it_is(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    answer = await retry(channel, run_id)
    assert not answer.retried
    assert answer.run == await _basic(channel, run_id)


async def _basic(channel: grpc.aio.Channel, run_id: str) -> run_pb2.Run:
    request = run_pb2.GetRunRequest(run_id=run_id, view=common_pb2.VIEW_BASIC)
    return (await run_pb2_grpc.RunServiceStub(channel).GetRun(request)).run


async def test_a_completed_run_is_refused(channel: grpc.aio.Channel) -> None:
    await define(channel, "nothing")
    run_id = await start_run(channel, "nothing")
    code, reason, details = await refusal(channel, run_id)
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_COMPLETED")
    assert details.startswith(f"run_id: run {run_id} has completed")


async def test_the_run_of_a_deleted_flow_is_unknown(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    await flow_pb2_grpc.FlowServiceStub(channel).DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f", force=True))
    code, reason, _ = await refusal(channel, run_id)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")


async def test_the_run_of_an_inline_plan_goes_on(channel: grpc.aio.Channel) -> None:
    plan: Any = {"steps": [{"slug": "one"}, {"slug": "two", "depends_on": ["one"]}]}
    stub = run_pb2_grpc.RunServiceStub(channel)
    run_id = (await stub.StartRun(run_pb2.StartRunRequest(plan=plan, scope="mine"))).run.run_id
    await cancel_run(channel, run_id)
    assert (await retry(channel, run_id)).retried
    assert {step.status for step in (await get_run(channel, run_id)).steps} == {
        common_pb2.STEP_STATUS_STARTED,
        common_pb2.STEP_STATUS_CREATED,
    }


async def test_a_late_word_of_the_end_before_the_retry_costs_time_and_no_attempt(
    start_coordinator: Callable[..., Any], conn: psycopg.AsyncConnection[Any]
) -> None:
    async with start_coordinator(lease_s=3, heartbeat_s=0.2) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "f", a=[])
        run_id = await start_run(channel, "f")
        await cancel_run(channel, run_id)
        await retry(channel, run_id)
        async with raw_worker(channel, ["f.a"], credits=3) as worker:
            (first,) = await worker.take_tasks(1)
            await conn.execute("select pg_notify('pgflow_ended', %s)", [run_id])
            await worker.until(lambda: first.token in worker.cancelled)
            # The comparison finds a lease that nobody works on, and hands it back.
            (second,) = await worker.take_tasks(1)
            assert second.attempt == 1
            worker.complete(second)
            assert (await ended_run(channel, run_id)).status == common_pb2.RUN_STATUS_COMPLETED
        assert (await get_task(channel, run_id, "a")).lost_leases == 0
