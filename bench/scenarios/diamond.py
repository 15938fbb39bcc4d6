"""diamond: a 4-step DAG with handlers that do nothing, through the public SDK."""

from __future__ import annotations

import asyncio

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, timed_runs
from bench.processes import ServerCounters
from bench.scenarios.raw import raw_pgmq
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient

TARGETS = {
    "tasks_per_s": Target(20_000),
    "tasks_per_s_default": Target(12_000),
    "sync_ratio": Target(0.8),
    "ratio": Target(0.5),
}
_CASES = (
    ("tasks_per_s", "bench.handlers:worker", 400),
    ("tasks_per_s_default", "bench.handlers:worker", 100),
    ("tasks_per_s_sync", "bench.handlers:worker_sync", 400),
)


async def _diamonds(stack: Stack, runs: int) -> float:
    async with AsyncClient(stack.target) as client:
        await define(client, "diamond", DIAMOND)
        return await timed_runs(client, "diamond", runs)


def run(effort: Effort, figures: Figures) -> None:
    """400 credits, the SDK's default of 100, sync handlers, and raw pgmq, in turn."""
    runs = effort.scale(360_000, 10_000)
    tasks = runs * len(DIAMOND)
    for _ in range(effort.rounds):
        for key, worker, credits in _CASES:
            with running_stack(worker, credits) as stack:
                before = ServerCounters.read(stack.dsn)
                elapsed_s = asyncio.run(_diamonds(stack, runs))
                after = ServerCounters.read(stack.dsn)
                figures.add(key, tasks / elapsed_s)
                figures.add(f"{key}.statements_per_task", (after.statements - before.statements) / tasks)
                figures.add(f"{key}.commits_per_task", (after.commits - before.commits) / tasks)
                figures.add(f"{key}.wal_bytes_per_task", (after.wal_bytes - before.wal_bytes) / tasks)
                if key == "tasks_per_s":
                    figures.add("raw_pgmq_per_s", raw_pgmq(stack.dsn, effort.scale(500_000, 20_000)))
    figures.ratio("ratio", "tasks_per_s", "raw_pgmq_per_s")
    figures.ratio("sync_ratio", "tasks_per_s_sync", "tasks_per_s")
