"""ListTasks and GetTask: filters, pages, payloads and attempts."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from stepgres.v1 import common_pb2, run_pb2, run_pb2_grpc
from tests.support.flows import cancel_run, define, ended_run, get_task, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of

QUEUED, STARTED, COMPLETED = (
    common_pb2.TASK_STATUS_QUEUED,
    common_pb2.TASK_STATUS_STARTED,
    common_pb2.TASK_STATUS_COMPLETED,
)


async def list_tasks(channel: grpc.aio.Channel, run_id: str, **fields: Any) -> run_pb2.ListTasksResponse:
    request = run_pb2.ListTasksRequest(run_id=run_id, **fields)
    return await run_pb2_grpc.RunServiceStub(channel).ListTasks(request)


async def all_pages(channel: grpc.aio.Channel, run_id: str, **fields: Any) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    token = ""
    while True:
        page = await list_tasks(channel, run_id, page_token=token, **fields)
        found += [(task.step, task.task_index) for task in page.tasks]
        token = page.next_page_token
        if not token:
            return found


async def test_tasks_are_listed_by_step_and_index_and_filtered(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], m=[], n=[], maps=["m", "n"])
    run_id = await start_run(channel, "f", [1, 2, 3])
    async with raw_worker(channel, ["f.m"], credits=2) as worker:
        tasks = await worker.take_tasks(2)
        worker.complete(tasks[0])
        await worker.take_acks(1)
        everything = [("a", 0), *(("m", i) for i in range(3)), *(("n", i) for i in range(3))]
        for size in (1, 2, 3, 50):
            assert await all_pages(channel, run_id, page_size=size) == everything
        assert await all_pages(channel, run_id, step="m", page_size=2) == [("m", 0), ("m", 1), ("m", 2)]
        done, running = tasks[0].task_index, tasks[1].task_index
        assert await all_pages(channel, run_id, status=COMPLETED) == [("m", done)]
        assert await all_pages(channel, run_id, status=STARTED) == [("m", running)]
        assert len(await all_pages(channel, run_id, step="m", status=QUEUED)) == 1
        listed = {task.task_index: task for task in (await list_tasks(channel, run_id, step="m")).tasks}
    assert listed[done].worker == listed[running].worker == "raw"
    assert listed[done].HasField("end_time")
    assert listed[running].HasField("start_time")
    assert not listed[running].HasField("end_time")
    assert {task.attempt for task in listed.values()} == {1}
    assert {(task.input, task.output) for task in listed.values()} == {(b"", b"")}


async def test_full_has_inputs_and_outputs(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], m=["a"], maps=["m"])
    run_id = await start_run(channel, "f", {"day": 1})
    async with raw_worker(channel, ["f.a", "f.m"], credits=3) as worker:
        worker.complete(*await worker.take_tasks(1), output=b'["x", 2.0]')
        worker.complete(*await worker.take_tasks(2), output=b"true")
        await ended_run(channel, run_id)
    tasks = (await list_tasks(channel, run_id, view=common_pb2.VIEW_FULL)).tasks
    assert [(task.input, task.output) for task in tasks] == [
        (b'{"run":{"day": 1}}', b'["x", 2.0]'),
        (b'{"item":"x","index":0}', b"true"),
        (b'{"item":2.0,"index":1}', b"true"),
    ]


async def test_a_task_shows_every_attempt(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], step={"base_delay_s": 0})
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a"], credits=3, worker="fast one") as worker:
        worker.fail(*await worker.take_tasks(1), code="BUSY", message="later", details="line 7")
        worker.fail(*await worker.take_tasks(1), message="again")
        worker.complete(*await worker.take_tasks(1), output=b'"ok"')
        await ended_run(channel, run_id)
    task = await get_task(channel, run_id, "a")
    assert (task.status, task.attempt, task.output) == (COMPLETED, 3, b'"ok"')
    tries = [(a.attempt, a.code, a.message, a.details, a.worker) for a in task.attempts]
    assert tries == [
        (1, "BUSY", "later", "line 7", "fast one"),
        (2, "HANDLER_ERROR", "again", "", "fast one"),
        (3, "", "", "", "fast one"),
    ]
    times = [moment.ToNanoseconds() for a in task.attempts for moment in (a.start_time, a.end_time)]
    assert times == sorted(times)


async def test_a_waiting_retry_says_when_it_is_due(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a"], credits=1) as worker:
        worker.fail(*await worker.take_tasks(1), message="later", retry_after_ms=3_600_000)
        await worker.take_acks(1)
    task = await get_task(channel, run_id, "a")
    assert (task.status, task.attempt, len(task.attempts)) == (QUEUED, 2, 1)
    assert task.available_time.seconds - task.attempts[0].end_time.seconds >= 1700


async def test_tasks_of_a_cancelled_run_are_cancelled(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", m=[], maps=["m"])
    run_id = await start_run(channel, "f", [1, 2])
    await cancel_run(channel, run_id)
    assert await all_pages(channel, run_id, status=common_pb2.TASK_STATUS_CANCELLED) == [("m", 0), ("m", 1)]


async def test_a_page_token_belongs_to_its_run_and_filters(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", m=[], maps=["m"])
    run_id, other = [await start_run(channel, "f", [1, 2, 3]) for _ in range(2)]
    token = (await list_tasks(channel, run_id, page_size=1)).next_page_token
    assert (await list_tasks(channel, run_id, page_size=5, page_token=token)).tasks[0].task_index == 1
    for run, fields in ((other, {}), (run_id, {"step": "m"}), (run_id, {"status": QUEUED})):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await list_tasks(channel, run, page_token=token, **fields)
        assert reason_of(refusal.value) == "INVALID_PAGE_TOKEN"
