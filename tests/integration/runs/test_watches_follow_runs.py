"""WatchRun: a snapshot, changes and the end, for many clients, across breaks and coordinators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc
from tests.integration.conftest import channel_to
from tests.support.flows import WAIT_S, cancel_run, define, eventually, get_run, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import details_of, reason_of


async def watch(
    channel: grpc.aio.Channel, run_id: str, cursor: str = "", view: common_pb2.View.ValueType = common_pb2.VIEW_BASIC
) -> list[run_pb2.WatchRunResponse]:
    request = run_pb2.WatchRunRequest(run_id=run_id, cursor=cursor, view=view)
    async with asyncio.timeout(WAIT_S):
        return [frame async for frame in run_pb2_grpc.RunServiceStub(channel).WatchRun(request)]


async def first_frame(channel: grpc.aio.Channel, run_id: str, cursor: str = "") -> tuple[Any, run_pb2.WatchRunResponse]:
    call = run_pb2_grpc.RunServiceStub(channel).WatchRun(run_pb2.WatchRunRequest(run_id=run_id, cursor=cursor))
    async with asyncio.timeout(WAIT_S):
        frame = await anext(aiter(call))
    assert isinstance(frame, run_pb2.WatchRunResponse)
    return call, frame


async def rest_of(call: Any) -> list[run_pb2.WatchRunResponse]:
    async with asyncio.timeout(WAIT_S):
        return [frame async for frame in call]


def kinds(frames: Sequence[run_pb2.WatchRunResponse]) -> list[str | None]:
    return [frame.WhichOneof("frame") for frame in frames]


def merged(frames: Sequence[run_pb2.WatchRunResponse]) -> dict[str, run_pb2.StepState]:
    """The steps as a client knows them after the snapshot and all changes."""
    steps = {step.step: step for step in frames[0].snapshot.steps}
    for frame in frames[1:]:
        steps.update({step.step: step for step in frame.change.steps})
    return steps


async def test_a_run_is_followed_from_its_start_to_its_end(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], m=["a"], last=["m"], maps=["m"])
    run_id = await start_run(channel, "f", {"x": 1})
    watching = asyncio.create_task(watch(channel, run_id, view=common_pb2.VIEW_FULL))
    async with raw_worker(channel, ["f.a", "f.m", "f.last"], credits=20) as worker:
        worker.complete(*await worker.take_tasks(1), output=b"[1, 2, 3]")
        for task in await worker.take_tasks(3):
            await asyncio.sleep(0.15)
            worker.complete(task)
        worker.complete(*await worker.take_tasks(1))
        frames = await watching
    assert kinds(frames)[0] == "snapshot"
    assert set(kinds(frames)[1:-1]) == {"change"}
    assert kinds(frames)[-1] == "end"
    assert {step.counts.completed for frame in frames for step in frame.change.steps if step.step == "m"} >= {1, 2}
    revisions = [frame.change.revision for frame in frames[1:-1]]
    assert revisions == sorted(set(revisions))
    end = frames[-1].end
    assert end.status == common_pb2.RUN_STATUS_COMPLETED
    assert (end.input, end.output) == (b'{"x": 1}', b'{"last":1}')
    assert {step.status for step in end.steps} == {common_pb2.STEP_STATUS_COMPLETED}
    assert [list(step.depends_on) for step in end.steps] == [[], ["a"], ["m"]]
    assert len({frame.cursor for frame in frames}) == len(frames)


async def test_the_end_is_there_before_the_next_tick(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    clock = asyncio.get_running_loop().time
    took_s = []
    async with raw_worker(channel, ["f.a"], credits=5) as worker:
        for _ in range(5):
            run_id = await start_run(channel, "f")
            (task,) = await worker.take_tasks(1)
            call, _ = await first_frame(channel, run_id)
            began = clock()
            worker.complete(task)
            frames = [frame async for frame in call]
            took_s.append(clock() - began)
            assert kinds(frames) == ["end"]
            assert await call.code() is grpc.StatusCode.OK
    assert min(took_s) < 0.08  # the busiest machine is idle once


async def test_basic_has_no_payloads(channel: grpc.aio.Channel) -> None:
    await define(channel, "nothing")
    frames = await watch(channel, await start_run(channel, "nothing", {"x": 1}))
    assert kinds(frames) == ["snapshot", "end"]
    assert (frames[-1].end.input, frames[-1].end.output) == (b"", b"")


async def test_a_broken_watch_goes_on_with_its_cursor_at_another_coordinator(
    channel: grpc.aio.Channel, start_coordinator: Any
) -> None:
    await define(channel, "f", a=[], b=[], c=["a"])
    run_id = await start_run(channel, "f")
    async with (
        start_coordinator() as second,
        channel_to(second) as elsewhere,
        raw_worker(channel, ["f.a", "f.b", "f.c"], credits=5) as worker,
    ):
        call, snapshot = await first_frame(channel, run_id)
        call.cancel()
        tasks = {task.step: task for task in await worker.take_tasks(2)}
        worker.complete(tasks["b"])
        await worker.take_acks(1)
        call, change = await first_frame(elsewhere, run_id, snapshot.cursor)
        assert [step.step for step in change.change.steps] == ["b"]
        call.cancel()
        worker.complete(tasks["a"])
        worker.complete(*await worker.take_tasks(1))
        rest = await watch(channel, run_id, change.cursor)
        assert kinds(rest)[-1] == "end"
        assert "snapshot" not in kinds(rest)
        assert await watch(elsewhere, run_id, rest[-1].cursor) == rest[-1:]


async def test_changes_of_another_coordinator_are_seen(channel: grpc.aio.Channel, start_coordinator: Any) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with start_coordinator() as second, channel_to(second) as elsewhere:
        watching = asyncio.create_task(watch(elsewhere, run_id))
        await asyncio.sleep(0.05)
        await cancel_run(channel, run_id)
        frames = await watching
    assert frames[-1].end.status == common_pb2.RUN_STATUS_CANCELLED
    assert frames[-1].end.error.message == "test"


async def test_many_watchers_see_the_same_and_never_miss_the_last_state(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", m=[], maps=["m"])
    run_id = await start_run(channel, "f", list(range(300)))
    watchers = [asyncio.create_task(watch(channel, run_id)) for _ in range(30)]
    async with raw_worker(channel, ["f.m"], credits=300) as worker:
        for _ in range(30):
            worker.complete(*await worker.take_tasks(10))
            await asyncio.sleep(0.02)
        results = await asyncio.gather(*watchers)
    for frames in results:
        assert kinds(frames)[-1] == "end"
        assert frames[-1].end.steps[0].counts.completed == 300
        assert len(frames) <= 20
        steps = merged(frames[:-1])
        assert steps["m"].counts.total == 300


async def test_a_cursor_of_another_run_or_database_is_refused(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id, other = [await start_run(channel, "f") for _ in range(2)]
    call, frame = await first_frame(channel, other)
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await watch(channel, run_id, frame.cursor)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refusal.value) == "INVALID_CURSOR"
    assert other in (refusal.value.details() or "")


async def test_a_watch_ends_when_the_flow_is_deleted(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    call, _ = await first_frame(channel, run_id)
    await flow_pb2_grpc.FlowServiceStub(channel).DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f", force=True))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await rest_of(call)
    assert reason_of(refusal.value) == "RUN_NOT_FOUND"


async def test_abandoned_watches_are_forgotten(channel: grpc.aio.Channel, coordinator: Any) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    calls = [(await first_frame(channel, run_id))[0] for _ in range(20)]
    hub = coordinator._hub
    assert len(hub._runs) == 1
    for call in calls:
        call.cancel()
    async with asyncio.timeout(WAIT_S):
        while hub._runs:
            await asyncio.sleep(0.01)
    assert (await get_run(channel, run_id)).status == common_pb2.RUN_STATUS_STARTED


async def test_a_stopping_coordinator_sends_its_watchers_elsewhere(
    channel: grpc.aio.Channel, start_coordinator: Any
) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with start_coordinator() as second, channel_to(second) as elsewhere:
        call, _ = await first_frame(elsewhere, run_id)
        await second._hub.stop()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await rest_of(call)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(refusal.value) == "DRAINING"
        assert any("RetryInfo" in detail.type_url for detail in details_of(refusal.value).details)


async def test_a_watch_survives_the_loss_of_every_connection(channel: grpc.aio.Channel, conn: Any) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    watching = asyncio.create_task(watch(channel, run_id))
    await asyncio.sleep(0.05)
    await conn.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        while True:
            try:
                await cancel_run(channel, run_id)
                break
            except grpc.aio.AioRpcError as error:  # as the contract says: UNAVAILABLE, try again
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
                await asyncio.sleep(0.05)
    assert kinds(await watching)[-1] == "end"


async def test_no_more_watches_than_allowed_and_who_leaves_makes_room(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator(max_watches=2) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "f", a=[])
        run_id = await start_run(channel, "f")
        calls = [(await first_frame(channel, run_id))[0] for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_frame(channel, run_id)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(refused.value) == "TOO_MANY_STREAMS"

        async def has_room() -> bool:
            try:
                calls.append((await first_frame(channel, run_id))[0])
            except grpc.aio.AioRpcError:
                return False
            return True

        calls[0].cancel()
        await eventually(has_room)
        for call in calls:
            call.cancel()
