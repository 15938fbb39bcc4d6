"""What a handler reports of its progress is shown with its task."""

from __future__ import annotations

import grpc
import pytest

from stepgres.v1 import worker_pb2
from tests.support.flows import define, eventually, get_task, start_run
from tests.support.raw_worker import raw_worker


async def test_the_last_report_of_a_task_is_shown(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        (task,) = await worker.take_tasks(1)
        for fraction, message in ((0.25, "begun"), (0.5, "half")):
            report = worker_pb2.TaskProgress(token=task.token, fraction=fraction, message=message)
            worker.send(heartbeat=worker_pb2.Heartbeat(progress=[report]))

        async def shown() -> bool:
            return (await get_task(channel, run_id, "work")).progress_message == "half"

        await eventually(shown)
        assert (await get_task(channel, run_id, "work")).progress == pytest.approx(0.5)


async def test_a_new_attempt_begins_without_the_progress_of_the_last(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        (task,) = await worker.take_tasks(1)
        report = worker_pb2.TaskProgress(token=task.token, fraction=0.5, message="half")
        worker.send(heartbeat=worker_pb2.Heartbeat(progress=[report]))

        async def shown() -> bool:
            return (await get_task(channel, run_id, "work")).progress_message == "half"

        await eventually(shown)
        worker.fail(task, code="BROKEN", message="broken", retry_after_ms=1)
        await worker.take_acks(1)
        assert (await get_task(channel, run_id, "work")).progress_message == ""
        worker.grant(1)
        await worker.take_tasks(1)
        again = await get_task(channel, run_id, "work")
    assert (again.attempt, again.progress, again.progress_message) == (2, 0, "")
