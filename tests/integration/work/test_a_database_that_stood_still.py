"""A database, or a pooler in front of it, that stands still for longer than a lease and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from stepgres.v1 import worker_pb2
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, eventually, get_task, start_run
from tests.support.pg_proxy import pg_proxy
from tests.support.raw_worker import raw_worker

HANDLERS = ["one.work"]
Conn = psycopg.AsyncConnection[tuple[Any, ...]]

COMPARISON = b"pgflow.leases_of_sessions"
SWEEP, RENEWAL, CLOCK = b"pgflow.sweep_sessions", b"pgflow.renew_sessions", b"select pgflow.now()"


@pytest.mark.slow
async def test_a_sweep_that_hung_takes_nothing_from_workers_that_could_not_be_renewed(
    database: str, conn: Conn
) -> None:
    async with (
        pg_proxy(database) as wire,
        # Every statement travels with its text, for the proxy to tell them apart.
        running_coordinator(wire.dsn, lease_s=6, heartbeat_s=2, prepare_threshold=0) as coordinator,
        channel_to(coordinator) as channel,
    ):

        async def held() -> bool:
            return wire.holds <= wire.held

        async def lease_is_over() -> bool:
            query = "select lease_until < clock_timestamp() from pgflow.sessions"
            return await (await conn.execute(query)).fetchone() == (True,)

        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1) as worker:

            async def beat() -> None:
                worker.send(heartbeat=worker_pb2.Heartbeat())
                await asyncio.sleep(0.1)

            (task,) = await worker.take_tasks(1)
            wire.holds = {SWEEP}  # the first one, after a whole lease
            async with asyncio.timeout(20):
                while not await held():
                    await beat()
            wire.holds |= {RENEWAL, CLOCK}
            async with asyncio.timeout(20):
                while not await lease_is_over():
                    await beat()
            wire.holds = {RENEWAL, CLOCK}
            wire.held.clear()
            await eventually(held)  # the sweep was answered: its coordinator counts its contact from the beginning
            wire.holds = set()
            worker.complete(task)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        assert (await get_task(channel, run_id, "work")).lost_leases == 0


@pytest.mark.slow  # psycopg waits 5 s for the end of what was given up
@pytest.mark.parametrize(("held", "loop"), [({CLOCK, SWEEP}, "sweeper"), ({COMPARISON}, "renewals")])
async def test_a_loop_that_waits_for_an_answer_shows_in_health(database: str, held: set[bytes], loop: str) -> None:
    async with (
        pg_proxy(database) as wire,
        running_coordinator(wire.dsn, lease_s=1, heartbeat_s=0.3, prepare_threshold=0) as coordinator,
        channel_to(coordinator) as channel,
        raw_worker(channel, HANDLERS),
    ):
        wire.holds = held
        async with asyncio.timeout(60):
            while loop not in coordinator.engine.unhealthy():
                await asyncio.sleep(0.02)
        wire.holds = set()
