"""start: StartRun from 50 callers at a time, and StartRuns, with nobody to execute the tasks."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, start_many
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient

TARGETS: dict[str, Target] = {}
_CALLERS = 50


async def _starts(stack: Stack, effort: Effort, figures: Figures) -> None:
    async with AsyncClient(stack.target) as client:
        await define(client, "diamond", DIAMOND)
        single, many = effort.scale(20_000, 2_000), effort.scale(100_000, 10_000)

        async def caller() -> None:
            for _ in range(single // _CALLERS):
                await client.start_run("diamond", {"n": 1})

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        figures.add("start_run_per_s", single / (time.perf_counter() - started))
        started = time.perf_counter()
        await start_many(client, "diamond", many, {"n": 1})
        figures.add("start_runs_per_s", many / (time.perf_counter() - started))


def run(effort: Effort, figures: Figures) -> None:
    """Each on a database without runs."""
    for _ in range(effort.rounds):
        with running_stack() as stack:
            asyncio.run(_starts(stack, effort, figures))
