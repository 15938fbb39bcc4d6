"""latency: single-step runs one by one on an idle system, from StartRun to the terminal event of the watch."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Effort, Figures, Target
from bench.load import define, start_many
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient, Step

TARGETS = {"latency_p50_ms": Target(5, at_most=True), "latency_p99_ms": Target(20, at_most=True)}
_WARM_UP = 50
#: Runs started a second for the measurement under load: each has four tasks.
_LOAD_RUNS_PER_S = 2_000


async def one_by_one(client: AsyncClient, flow: str, runs: int) -> list[float]:
    """Milliseconds of each run from StartRun to its terminal event, in rising order."""
    took = []
    for n in range(_WARM_UP + runs):
        started = time.perf_counter()
        run = await client.start_run(flow)
        async for _ in run.watch():
            pass
        if n >= _WARM_UP:
            took.append((time.perf_counter() - started) * 1000)
    return sorted(took)


async def _steady_load(client: AsyncClient) -> None:
    due = time.monotonic()
    while True:
        await start_many(client, "diamond", _LOAD_RUNS_PER_S // 10)
        due += 0.1
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _latency(stack: Stack, effort: Effort, figures: Figures) -> None:
    runs = effort.scale(2_000, 500)
    async with AsyncClient(stack.target) as client, AsyncClient(stack.target) as loading:
        await client.create_flow("single", [Step("only", handler="nothing")])
        await define(client, "diamond", {"split": [], "left": ["split"], "right": ["split"], "join": ["left", "right"]})
        idle = await one_by_one(client, "single", runs)
        figures.add("latency_p50_ms", idle[len(idle) // 2])
        figures.add("latency_p99_ms", idle[len(idle) * 99 // 100])
        load = asyncio.create_task(_steady_load(loading))
        busy = await one_by_one(client, "single", runs // 4)
        load.cancel()
        figures.add("latency_p50_ms.under_load", busy[len(busy) // 2])
        figures.add("latency_p99_ms.under_load", busy[len(busy) * 99 // 100])


def run(effort: Effort, figures: Figures) -> None:
    """Idle, then beside 8,000 tasks/s of others."""
    for _ in range(effort.rounds):
        with running_stack("bench.handlers:worker", 100) as stack:
            asyncio.run(_latency(stack, effort, figures))
