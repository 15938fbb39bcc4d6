"""Leaving: with nowhere to go for its workers, with a worker that never reads, and with calls that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import psycopg

from stepgres.v1 import worker_pb2
from tests.integration.conftest import channel_to
from tests.support.flows import define, eventually, get_task, run_status, start_run
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.rpc import reason_of

HANDLERS = ["one.work"]


async def test_workers_that_hold_nothing_do_not_delay_it(start_coordinator: Callable[..., Any]) -> None:
    async with (
        start_coordinator(drain_s=3600) as leaving,
        channel_to(leaving) as channel,
        raw_worker(channel, HANDLERS, credits=1) as worker,
    ):
        async with asyncio.timeout(10):
            await leaving.drain()
        await leaving.stop(0.2)
        assert reason_of(await worker.ended()) == "DRAINING"
        assert worker.drain is not None


async def test_with_nowhere_to_go_a_worker_finishes_what_it_has_and_gets_no_more(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(drain_s=3600) as leaving, channel_to(leaving) as channel:
        await define(channel, "one", work=[])
        runs = [await start_run(channel, "one") for _ in range(2)]
        async with raw_worker(channel, HANDLERS, credits=1) as worker:
            (task,) = await worker.take_tasks(1)
            draining = asyncio.create_task(leaving.drain())
            await worker.until(lambda: worker.drain is not None)
            worker.grant(1)
            worker.complete(task)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
            async with asyncio.timeout(10):
                await draining
            assert worker.tasks == []
        assert sorted([await run_status(channel, run_id) for run_id in runs]) == ["COMPLETED", "STARTED"]


async def test_results_that_wait_for_a_lock_are_recorded_and_answered_on_the_way_out(
    channel: grpc.aio.Channel, start_coordinator: Callable[..., Any], database: str
) -> None:
    await define(channel, "one", work=[])
    async with start_coordinator() as leaving, channel_to(leaving) as old:
        worker = RawWorker(old)
        await worker.open(HANDLERS)
        worker.grant(1)
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        (session,) = leaving.engine.registry.sessions.values()
        async with await psycopg.AsyncConnection.connect(database) as locker:
            await locker.execute("select from pgflow.runs for update")
            worker.complete(task)

            async def it_waits() -> bool:
                return session.unacked == 1

            await eventually(it_waits)
            stopping = asyncio.create_task(leaving.stop(0.2))
            late = RawWorker(old)
            await asyncio.gather(late.open(HANDLERS), return_exceptions=True)  # refused: the stop has begun
            await late.close()
            await locker.rollback()
        assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        await stopping
        await worker.close()
    assert await run_status(channel, run_id) == "COMPLETED"


async def test_a_goodbye_in_the_last_moment_counts_no_loss(
    channel: grpc.aio.Channel, start_coordinator: Callable[..., Any], database: str, conn: Any
) -> None:
    await define(channel, "one", work=[])
    async with start_coordinator() as leaving, channel_to(leaving) as old:
        worker = RawWorker(old)
        await worker.open(HANDLERS)
        worker.grant(1)
        run_id = await start_run(channel, "one")
        await worker.take_tasks(1)
        async with await psycopg.AsyncConnection.connect(database) as locker:
            await locker.execute("select from pgflow.runs for update")
            left = asyncio.create_task(worker.goodbye())

            async def it_waits() -> bool:
                statement = "select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'close_sessions'"
                return bool(await (await conn.execute(statement)).fetchall())

            await eventually(it_waits)
            stopping = asyncio.create_task(leaving.stop(0.2))
            await asyncio.wait({stopping}, timeout=0)
            await locker.rollback()
        await stopping
        await asyncio.gather(left, return_exceptions=True)
        await worker.close()
    async with raw_worker(channel, HANDLERS, credits=1) as other:
        await other.take_tasks(1)
    assert (await get_task(channel, run_id, "work")).lost_leases == 0
