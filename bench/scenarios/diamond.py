"""diamond: a 4-step DAG with handlers that do nothing, through the public SDK.

Timed from the first StartRuns call to the last terminal run, as an outsider would see it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psycopg

from bench.handlers import DIAMOND
from bench.stack import Stack
from stepgres_worker import AsyncClient, RunSpec, Step

#: Runs in one StartRuns call.
_CHUNK = 500


@dataclass(frozen=True)
class DiamondResult:
    """One measured round."""

    tasks_per_s: float
    commits_per_task: float
    wal_bytes_per_task: float


def _counters(dsn: str) -> tuple[int, int]:
    """(commits, WAL position in bytes) of the server."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "select pg_stat_get_db_xact_commit(oid), pg_current_wal_lsn() - '0/0' from pg_database"
            " where datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def _round(stack: Stack, runs: int) -> float:
    async with AsyncClient(stack.target) as client:
        await client.create_flow("diamond", [Step(slug, depends_on=deps) for slug, deps in DIAMOND.items()])
        started = time.perf_counter()
        left = runs

        async def start() -> None:
            nonlocal left
            while left > 0:
                count, left = min(_CHUNK, left), left - _CHUNK
                for result in await client.start_runs([RunSpec("diamond", {"n": 1})] * count):
                    if result.error is not None:
                        raise result.error

        await asyncio.gather(start(), start())
        while (await client.list_runs(status="started", page_size=1)).items:
            await asyncio.sleep(0.05)
        return time.perf_counter() - started


def measure(stack: Stack, runs: int) -> DiamondResult:
    """Starts `runs` diamonds and waits for all of them."""
    tasks = runs * len(DIAMOND)
    commits, wal = _counters(stack.dsn)
    elapsed = asyncio.run(_round(stack, runs))
    time.sleep(1.1)  # backends report their counters once a second
    commits_after, wal_after = _counters(stack.dsn)
    return DiamondResult(tasks / elapsed, (commits_after - commits) / tasks, (wal_after - wal) / tasks)
