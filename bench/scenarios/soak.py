"""soak: ten minutes of mixed load; the last minute is as fast as the second, and nothing grows without bound."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import psycopg

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, start_many
from bench.processes import peak_rss_mb
from bench.stack import Stack, running_stack
from stepgres_worker import AsyncClient, Step

TARGETS = {"soak_ratio": Target(0.9)}
_MINUTE_S = 60.0
#: Runs that may wait: enough to keep the engine busy.
_AHEAD = 4_000


def _finished_tasks(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute("select count(*) from pgflow.step_tasks where status = 'completed'").fetchone()
    assert row is not None
    return int(row[0])


async def _mixed_load(client: AsyncClient, until: float) -> None:
    while time.monotonic() < until:
        await start_many(client, "diamond", _AHEAD // 2)
        for _ in range(5):
            await client.start_run("map", list(range(200)))
        page = await client.list_runs(flow="diamond", status="started", page_size=20)
        for run in page.items[:5]:
            await client.cancel_run(run.run_id)
        while len((await client.list_runs(status="started", page_size=1000)).items) >= 1000:
            await asyncio.sleep(0.05)


async def _soak(stack: Stack, effort: Effort, figures: Figures) -> None:
    minutes = effort.scale(10, 3)
    async with AsyncClient(stack.target) as client:
        await define(client, "diamond", DIAMOND)
        await client.create_flow("map", [Step("each", step_type="map", handler="nothing")])
        began = time.monotonic()
        load = asyncio.create_task(_mixed_load(client, began + minutes * _MINUTE_S))
        marks = [0]
        for minute in range(1, minutes + 1):
            await asyncio.sleep(began + minute * _MINUTE_S - time.monotonic())
            marks.append(await asyncio.to_thread(_finished_tasks, stack.dsn))
        await load
    rates = [(after - before) / _MINUTE_S for before, after in pairwise(marks)]
    figures.add("soak_tasks_per_s", sum(rates) / len(rates))
    figures.add("soak_ratio", rates[-1] / rates[1])
    figures.add("soak_coordinator_rss_mb", peak_rss_mb(stack.coordinators[0]))


def run(effort: Effort, figures: Figures) -> None:
    """One long run, whatever the number of rounds."""
    with running_stack("bench.handlers:worker", 400) as stack:
        asyncio.run(_soak(stack, effort, figures))
