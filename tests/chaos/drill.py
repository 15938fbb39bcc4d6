"""A whole run: start everything, load it, break it, let it settle, have it checked."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg

from stepgres_service.dev.process import free_port
from tests.chaos.balancer import Balancer
from tests.chaos.cluster import Database, add_audit, coordinator, until_ready, worker
from tests.chaos.faults import Faults, System
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.recovery import Recovery
from tests.chaos.repeats import repeats_by_reason
from tests.chaos.report import Report
from tests.chaos.schedule import schedule

_COORDINATORS = 2
_WORKERS = 4
#: Addresses that the load's clients use.
_CLIENTS = 4
#: Longest that a healthy system takes to finish what was started: leases and backoffs end well before.
_SETTLE_S = 120.0


async def drill(duration_s: int, seed: int, folder: Path, only: frozenset[str] = frozenset()) -> Report:
    """Runs it.

    Args:
        duration_s: seconds under load and faults.
        seed: decides both.
        folder: on a disk, for everything that is written.
        only: the kinds of faults; empty = all.
    """
    journal_path = folder / "journal.jsonl"
    database = Database(folder, free_port())
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(database.start)
        stack.callback(database.stop)
        await asyncio.to_thread(database.prepare)
        add_audit(database.dsn)
        journal = stack.enter_context(Journal(journal_path))
        ports = [free_port() for _ in range(_COORDINATORS)]
        balancer = await stack.enter_async_context(Balancer(ports))
        coordinators = [coordinator(n + 1, port, database.dsn, folder, {}) for n, port in enumerate(ports)]
        workers = [worker(n + 1, await balancer.open(f"worker-{n + 1}"), journal_path, folder) for n in range(_WORKERS)]
        for node in (*coordinators, *workers):
            node.start()
            stack.callback(node.stop)
        await until_ready(coordinators)
        load = Load([await balancer.open(f"client-{n + 1}") for n in range(_CLIENTS)], journal, seed)
        stack.push_async_callback(load.close)
        recovery = Recovery(database.dsn)
        faults = Faults(System(database, coordinators, workers, balancer), journal, recovery)

        await load.define()
        loading = asyncio.create_task(load.run())
        planned = schedule(duration_s, seed, only)
        print(f"chaos: seed {seed}, {len(planned)} faults in {duration_s} s", file=sys.stderr, flush=True)
        await faults.run(planned, duration_s)
        finished = await asyncio.to_thread(_finished_tasks, database.dsn)
        load.stop()
        await loading
        for node in (*coordinators, *workers):
            node.check()
        settled_s = await settle(database.dsn)
        # In this order nobody takes anything more.
        for node in (*workers, *coordinators):
            await asyncio.to_thread(node.stop)
        alone, among = await asyncio.to_thread(recovery.times, journal_path)
        repeats = repeats_by_reason(journal_path)
        _, findings = await asyncio.to_thread(judge, database.dsn, journal_path)
        await asyncio.to_thread(database.stop)
    deadlocks = database.log.read_text().count("deadlock detected")
    return Report(
        seed, duration_s, bool(only), findings, dict(faults.done), deadlocks, repeats, finished, settled_s, alone, among
    )


def _finished_tasks(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "select count(*) from pgflow.step_tasks where status in ('completed', 'failed', 'cancelled')"
            " and started_at is not null"
        ).fetchone()
    return row[0] if row else 0


async def settle(dsn: str) -> float:
    """Waits until every run has ended, at most so long; returns how long it took."""
    began = time.monotonic()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        while time.monotonic() - began < _SETTLE_S:
            found = await conn.execute("select 1 from pgflow.runs where completed_at is null limit 1")
            if await found.fetchone() is None:
                break
            await asyncio.sleep(0.1)
    return time.monotonic() - began


def judge(dsn: str, journal: Path) -> tuple[int, dict[str, Any]]:
    """Exit code of the checker, a program of its own, and what it prints."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "check", "--dsn", dsn, "--log", str(journal)],
        cwd=Path(__file__).resolve().parents[2], stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    return answer.returncode, json.loads(answer.stdout.splitlines()[-1])
