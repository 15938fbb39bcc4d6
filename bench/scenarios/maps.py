"""maps: one run that maps over many items, and how its time grows with them."""

from __future__ import annotations

import asyncio

from bench.figures import Effort, Figures, Target
from bench.load import timed_runs
from bench.processes import peak_rss_mb
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient, Step

TARGETS = {
    "map_tasks_per_s": Target(20_000),
    "map_growth": Target(11, at_most=True),
    "coordinator_rss_mb": Target(200, at_most=True),
}
_SMALL, _LARGE = 10_000, 100_000


async def _maps(stack: Stack, figures: Figures) -> None:
    async with AsyncClient(stack.target) as client:
        await client.create_flow("map", [Step("each", step_type="map", handler="nothing")])
        small_s = await timed_runs(client, "map", 1, list(range(_SMALL)))
        large_s = await timed_runs(client, "map", 1, list(range(_LARGE)))
    figures.add("map_tasks_per_s", _LARGE / large_s)
    figures.add("map_tasks_per_s.10000", _SMALL / small_s)
    figures.add("map_growth", large_s / small_s)


def run(effort: Effort, figures: Figures) -> None:
    """10,000 items, then 100,000, each time on a new database."""
    for _ in range(effort.rounds):
        with running_stack("bench.handlers:worker", 400) as stack:
            asyncio.run(_maps(stack, figures))
            figures.add("coordinator_rss_mb", peak_rss_mb(stack.coordinators[0]))
