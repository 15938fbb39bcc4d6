"""quiet: what the engine costs while nothing moves: tasks that wait in their handlers, and idle workers."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Effort, Figures, Target
from bench.handlers import nothing
from bench.load import start_many
from bench.processes import ServerCounters, cpu_s
from bench.scenarios.latency import one_by_one
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient, Step, Worker

TARGETS = {
    "inflight_cpu_percent": Target(5, at_most=True),
    "inflight_wal_kb_per_s": Target(10, at_most=True),
    "idle_cpu_percent": Target(2, at_most=True),
    "idle_statements_per_s": Target(5, at_most=True),
}
_WAITING = 10_000
_FLOWS, _WORKERS = 1_000, 100
_SETTLE_S = 6.0


def _observe(stack: Stack, seconds: float) -> tuple[float, float, float]:
    """(percent of a core, statements/s, KB of WAL/s) of database and coordinators."""
    cpu, before = cpu_s(stack.engine_pids), ServerCounters.read(stack.dsn)
    time.sleep(seconds)
    after, cpu_after = ServerCounters.read(stack.dsn), cpu_s(stack.engine_pids)
    elapsed_s = after.at - before.at
    return (
        (cpu_after - cpu) / elapsed_s * 100,
        (after.statements - before.statements) / elapsed_s,
        (after.wal_bytes - before.wal_bytes) / elapsed_s / 1024,
    )


async def _in_flight(stack: Stack, effort: Effort, figures: Figures) -> None:
    async with AsyncClient(stack.target) as client:
        await client.create_flow("slow", [Step("call", handler="wait", timeout_s=600)])
        await client.create_flow("single", [Step("only", handler="nothing")])
        await start_many(client, "slow", _WAITING)
        while sum(w.in_flight for w in (await client.list_workers()).items) < _WAITING:
            await asyncio.sleep(0.1)
        percent, _, wal_kb = await asyncio.to_thread(_observe, stack, effort.scale(30, 10))
        figures.add("inflight_cpu_percent", percent)
        figures.add("inflight_wal_kb_per_s", wal_kb)
        took = await one_by_one(client, "single", 200)
        figures.add("inflight_latency_p50_ms", took[len(took) // 2])


async def _idle(stack: Stack, effort: Effort, figures: Figures) -> None:
    async with AsyncClient(stack.target) as client:
        for n in range(_FLOWS):
            await client.create_flow(f"flow_{n}", [Step("only", handler=f"h_{n % _WORKERS}")])
        workers = [Worker(target=stack.target) for _ in range(_WORKERS)]
        for n, worker in enumerate(workers):
            worker.step(f"h_{n}")(nothing)
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.serve())
            await asyncio.gather(*(worker.wait_ready() for worker in workers))
            await asyncio.sleep(_SETTLE_S)
            percent, statements, _ = await asyncio.to_thread(_observe, stack, effort.scale(30, 10))
            for worker in workers:
                worker.stop()
        figures.add("idle_cpu_percent", percent)
        figures.add("idle_statements_per_s", statements)


def run(effort: Effort, figures: Figures) -> None:
    """10,000 tasks in handlers; then 1,000 flows and 100 connected workers without work."""
    for _ in range(effort.rounds):
        with running_stack("bench.handlers:worker", 10_100 // 2, workers=2) as stack:
            asyncio.run(_in_flight(stack, effort, figures))
        with running_stack() as stack:
            asyncio.run(_idle(stack, effort, figures))
