"""backlog: what others have queued in front: foreign tasks that nobody serves, and a neighbour with a long queue."""

from __future__ import annotations

import asyncio
import time

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, start_many, timed_runs
from bench.stack import running_stack
from stepgres_worker import AsyncClient, Step

TARGETS = {"foreign_ratio": Target(0.9), "skewed_first_task_ms": Target(100, at_most=True)}
#: One queue for all, so that the foreign tasks really stand in front.
_QUEUE = "shared"
_NEW_FLOWS = 5


async def _diamonds(target: str, runs: int, foreign: int) -> float:
    async with AsyncClient(target) as client:
        await define(client, "diamond", DIAMOND, queue=_QUEUE)
        await define(client, "unserved", {"never": []}, queue=_QUEUE)
        if foreign:
            await start_many(client, "unserved", foreign)
        return runs * len(DIAMOND) / await timed_runs(client, "diamond", runs)


async def _first_task_ms(target: str, queued: int) -> list[float]:
    """Milliseconds until a new flow's first run has ended, while another flow's runs are queued."""
    async with AsyncClient(target) as client:
        await define(client, "diamond", DIAMOND)
        await start_many(client, "diamond", queued)
        took = []
        for n in range(_NEW_FLOWS):
            await client.create_flow(f"new_{n}", [Step("only", handler="nothing")])
            started = time.perf_counter()
            run = await client.start_run(f"new_{n}")
            async for _ in run.watch():
                pass
            took.append((time.perf_counter() - started) * 1000)
        assert (await client.list_runs(flow="diamond", status="started", page_size=1)).items, (
            "the queue is empty already"
        )
        return took


def run(effort: Effort, figures: Figures) -> None:
    """Without and with 100,000 foreign tasks in turn; then a new flow beside 100,000 queued tasks."""
    runs, queued = effort.scale(100_000, 10_000), effort.scale(100_000, 20_000)
    for _ in range(effort.rounds):
        for key, foreign in (("tasks_per_s_alone", 0), ("tasks_per_s_behind_foreign", queued)):
            with running_stack("bench.handlers:worker", 400) as stack:
                figures.add(key, asyncio.run(_diamonds(stack.target, runs, foreign)))
        with running_stack("bench.handlers:worker", 400) as stack:
            for took in asyncio.run(_first_task_ms(stack.target, queued)):
                figures.add("skewed_first_task_ms", took)
    figures.ratio("foreign_ratio", "tasks_per_s_behind_foreign", "tasks_per_s_alone")
