"""Leases step over nothing that went before, and still find what was committed late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from stepgres_service.store.tasks import LeaseRequest, TaskStore
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, start_run, start_runs
from tests.support.raw_worker import raw_worker

_BACKLOG = 5_000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[LeaseRequest]:
    """What the coordinator's leases ask for."""
    requests: list[LeaseRequest] = []
    real = TaskStore.exchange

    async def exchange(self: TaskStore, conn: Any, results: Any, leases: Sequence[LeaseRequest], **options: Any) -> Any:
        requests.extend(leases)
        return await real(self, conn, results, leases, **options)

    monkeypatch.setattr(TaskStore, "exchange", exchange)
    return requests


async def test_a_task_that_is_committed_long_after_its_message_was_numbered_comes_before_the_backlog_is_done(
    database: str, asked: list[LeaseRequest]
) -> None:
    async with (
        running_coordinator(database, poll_s=60) as coordinator,
        channel_to(coordinator) as channel,
        await psycopg.AsyncConnection.connect(database) as late,
        raw_worker(channel, ["one.work"], credits=1) as worker,
    ):
        await define(channel, "one", work=[])
        await start_run(channel, "one")  # makes the route
        (task,) = await worker.take_tasks(1)
        cursor = await late.execute("select run_id::text from pgflow.start_run('one')")
        (late_run,) = await cursor.fetchone() or ()
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
            await conn.execute("select setval(pg_get_serial_sequence('pgmq.q_pgflow_2', 'msg_id'), 50000)")
        for _ in range(_BACKLOG // 500):
            await start_runs(channel, "one", 500)
        done, beginning = 0, 0
        while task.run_id != late_run:
            done += 1
            worker.complete(task, credits=1)
            (task,) = await worker.take_tasks(1)
            if beginning == 0 and asked[-1].from_ids[0] > 0:
                beginning = asked[-1].from_ids[0]
                await late.commit()
        assert beginning > 40_000
        assert done < _BACKLOG
