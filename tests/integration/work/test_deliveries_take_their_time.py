"""A lease that is committed long before its tasks can be handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from stepgres.v1 import worker_pb2
from tests.integration.conftest import channel_to
from tests.support.flows import define, eventually, get_task, run_status, start_run
from tests.support.raw_worker import raw_worker

HANDLERS = ["one.work"]
HEARTBEAT_S = 0.2
Conn = psycopg.AsyncConnection[tuple[Any, ...]]


async def test_what_is_on_its_way_to_a_worker_is_not_taken_back_however_long_it_takes(
    start_coordinator: Callable[..., Any], database: str, conn: Conn
) -> None:
    async with start_coordinator(heartbeat_s=HEARTBEAT_S) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS) as worker:
            coordinator.engine.definitions._flows.clear()
            async with await psycopg.AsyncConnection.connect(database) as locker:
                await locker.execute("lock table pgflow.workflow_steps")
                worker.grant(1)

                async def leased() -> bool:
                    row = await (await conn.execute("select status from pgflow.step_tasks")).fetchone()
                    return row == ("started",)

                await eventually(leased)
                # Comparisons over many periods agree that the database has a lease which this memory lacks.
                loop = asyncio.get_running_loop()
                began = loop.time()

                async def many_periods_later() -> bool:
                    await coordinator.engine._renewals.run_once()
                    return loop.time() - began > 5 * HEARTBEAT_S

                await eventually(many_periods_later)
                await locker.rollback()
            worker.complete(*await worker.take_tasks(1))
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        assert await run_status(channel, run_id) == "COMPLETED"
        row = await (await conn.execute("select lease_seq from pgflow.step_tasks")).fetchone()
        assert row == (1,)
        assert (await get_task(channel, run_id, "work")).lost_leases == 0
