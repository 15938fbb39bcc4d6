"""Leases step over nothing that went before, and still find what was committed late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import psycopg
import pytest

from stepgres_service.store.tasks import LeaseRequest, TaskStore
from tests.support.flows import define, start_run
from tests.support.raw_worker import raw_worker


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


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a poll has found something since it was cleared."""
    found = asyncio.Event()
    real = TaskStore.ready_routes

    async def ready_routes(self: TaskStore) -> list[tuple[int, int]]:
        routes = await real(self)
        if routes:
            asyncio.get_running_loop().call_soon(found.set)  # once it has been taken in
        return routes

    monkeypatch.setattr(TaskStore, "ready_routes", ready_routes)
    return found


async def test_a_task_that_is_committed_long_after_its_message_was_numbered_is_leased(
    channel: grpc.aio.Channel, database: str, polled: asyncio.Event, asked: list[LeaseRequest]
) -> None:
    await define(channel, "one", work=[])
    async with await psycopg.AsyncConnection.connect(database) as late, raw_worker(channel, ["one.work"]) as worker:
        worker.grant(1)
        await start_run(channel, "one")  # makes the route
        worker.complete(*await worker.take_tasks(1))
        cursor = await late.execute("select run_id::text from pgflow.start_run('one')")
        (late_run,) = await cursor.fetchone() or ()
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
            await conn.execute("select setval(pg_get_serial_sequence('pgmq.q_pgflow_2', 'msg_id'), 50000)")
        run = await start_run(channel, "one")
        await asyncio.wait_for(polled.wait(), 10)
        worker.grant(5)
        (task,) = await worker.take_tasks(1)
        assert task.run_id == run
        assert asked[-1].from_ids == [40_001]
        await late.commit()
        (task,) = await worker.take_tasks(1)
        assert task.run_id == late_run
        worker.complete(task)
        await worker.take_acks(1)
