"""Behind PgBouncer in transaction mode each transaction may find another connection to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stepgres_service.server import Coordinator
from stepgres_service.store.pool import Database
from stepgres_worker import AsyncClient, RunCancelled, RunSpec, Step, TaskError, Worker
from tests.integration.conftest import running_coordinator
from tests.support.pgbouncer import PROGRAM, pgbouncer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here; install the package pgbouncer")


@pytest.fixture
async def pooled(database: str) -> AsyncIterator[Coordinator]:
    """A coordinator whose every connection but LISTEN's leads through PgBouncer, with fewer than it asks for."""
    async with (
        pgbouncer(database, pool_size=3) as address,
        running_coordinator(address, listen_database_url=database) as coordinator,
    ):
        yield coordinator


async def test_flows_run_are_watched_retried_and_cancelled(pooled: Coordinator) -> None:
    failed, begun = asyncio.Event(), asyncio.Event()

    async def shaky(input: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise TaskError("once", retryable=False)
        return sum(input["double"])

    async def endless(input: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    worker = Worker(target=f"127.0.0.1:{pooled.port}", concurrency=50)
    for name, function in {
        "f.numbers": lambda input: list(range(input["run"]["n"])),
        "f.double": lambda input: input["item"] * 2,
        "f.total": shaky,
        "endless": endless,
    }.items():
        worker.step(name)(function)
    serving = asyncio.create_task(worker.serve())
    async with AsyncClient(f"127.0.0.1:{pooled.port}") as client:
        await client.create_flow(
            "f", [Step("numbers"), Step("double", ["numbers"], "map"), Step("total", ["double"])], max_attempts=1
        )
        run = await client.start_run("f", {"n": 10})
        assert [snapshot.status async for snapshot in run.watch()][-1] == "failed"
        await run.retry()
        assert await run.result(timeout=30) == {"total": 90}

        results = await client.start_runs([RunSpec("f", {"n": number}) for number in range(100)])
        for number, result in enumerate(results):
            assert await client.run(result.run_id).result(timeout=30) == {"total": number * (number - 1)}

        run = await client.start_run(plan=[Step("endless")])
        await begun.wait()
        await run.cancel()
        with pytest.raises(RunCancelled):
            await run.result(timeout=30)
    worker.stop()
    await serving


async def test_nothing_is_prepared_unless_it_is_asked_for(database: str) -> None:
    async with pgbouncer(database, pool_size=2) as address:
        for threshold, prepared in ((None, None), (5, 5)):
            connections = Database(address, direct_dsn=database, prepare_threshold=threshold)
            async with await connections.connect() as conn, await connections.connect(direct=True) as direct:
                assert conn.prepare_threshold == prepared
                assert direct.prepare_threshold == (threshold or 2)


async def test_listening_through_it_is_warned_of(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with pgbouncer(database, pool_size=3) as address, running_coordinator(address):
        shown = ""
        async with asyncio.timeout(10):
            while "STEPGRES_LISTEN_DATABASE_URL" not in shown:
                await asyncio.sleep(0.01)
                shown += capsys.readouterr().out
