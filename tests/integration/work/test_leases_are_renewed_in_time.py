"""Renewals wait for nobody, and a coordinator whose renewals hang knows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stepgres.v1 import worker_pb2
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, eventually, get_task, run_status, start_run
from tests.support.pg_proxy import pg_proxy
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.rpc import reason_of

HANDLERS = ["one.work"]
Conn = psycopg.AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def beating(worker: RawWorker) -> AsyncIterator[None]:
    """Sends heartbeats until left."""

    async def beat() -> None:
        while True:
            worker.send(heartbeat=worker_pb2.Heartbeat())
            await asyncio.sleep(0.1)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


async def seconds(conn: Conn) -> float:
    row = await (await conn.execute("select extract(epoch from clock_timestamp())::float8")).fetchone()
    assert row is not None
    return float(row[0])


@pytest.mark.slow
async def test_calls_that_fill_the_pool_cost_no_lease(
    start_coordinator: Callable[..., Any], database: str, conn: Conn
) -> None:
    async with (
        start_coordinator(lease_s=2, heartbeat_s=0.4, pool_min=1, pool_max=2) as full,
        start_coordinator(lease_s=2, heartbeat_s=0.4) as sweeping,
        channel_to(full) as channel,
        channel_to(sweeping) as other,
    ):
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1) as worker, beating(worker):
            (task,) = await worker.take_tasks(1)
            async with await psycopg.AsyncConnection.connect(database) as locker:
                await locker.execute("lock table pgflow.workflows")
                waiting = [asyncio.create_task(define(channel, f"f{n}", work=[])) for n in range(30)]
                began = await seconds(conn)

                async def leases_later() -> bool:
                    return await seconds(conn) - began > 5 or worker.closed

                await eventually(leases_later)
                await locker.rollback()
            await asyncio.gather(*waiting, return_exceptions=True)
            worker.complete(task)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        assert await run_status(other, run_id) == "COMPLETED"


async def test_a_coordinator_whose_renewals_hang_turns_not_ready_and_lets_its_workers_go(
    start_coordinator: Callable[..., Any], database: str
) -> None:
    async with (
        pg_proxy(database) as wire,
        start_coordinator(lease_s=1, heartbeat_s=0.3) as well,
        running_coordinator(wire.dsn, lease_s=1, heartbeat_s=0.3) as deaf,
        channel_to(well) as channel,
        channel_to(deaf) as its_own,
    ):
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")

        async def not_serving() -> bool:
            check = health_pb2.HealthCheckRequest(service="stepgres.v1.WorkerService")
            answer = await health_pb2_grpc.HealthStub(its_own).Check(check)
            return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)

        async with raw_worker(its_own, HANDLERS, credits=1) as worker, beating(worker):
            await worker.take_tasks(1)
            wire.answers = False
            await eventually(not_serving)
            async with raw_worker(channel, HANDLERS, credits=1) as other, beating(other):
                (task,) = await other.take_tasks(1)
                wire.answers = True
                assert reason_of(await worker.ended()) == "SESSION_EXPIRED"
                other.complete(task)
                await other.take_acks(1)
        assert (await get_task(channel, run_id, "work")).lost_leases == 1
        wire.cut()  # what was swallowed never comes: nobody has to wait for it at the end
