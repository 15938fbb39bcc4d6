"""paths: a flow in code against the same flow defined at run time, and what a definition costs to load."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench.figures import Effort, Figures, Target
from bench.handlers import static_diamond
from bench.load import DIAMOND, timed_runs
from bench.stack import running_stack
from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.store.flows import FlowStore
from stepgres_service.store.pool import Database
from stepgres_worker import AsyncClient, Step

TARGETS = {"path_ratio": Target(0.95)}
#: Steps of the definition that is loaded, in a chain.
_STEPS = 100
_LOADS = 50


async def _define_at_run_time(client: AsyncClient, flow: str) -> None:
    await client.create_flow(flow)
    for slug, needs in DIAMOND.items():
        await client.add_step(flow, slug, depends_on=needs, handler="nothing")


async def _paths(target: str, effort: Effort, figures: Figures) -> None:
    runs = effort.scale(100_000, 10_000)
    async with AsyncClient(target) as client:
        await client.register(static_diamond)
        await _define_at_run_time(client, "dynamic_diamond")
        for _ in range(effort.rounds):
            for path in ("static", "dynamic"):
                elapsed_s = await timed_runs(client, f"{path}_diamond", runs)
                figures.add(f"tasks_per_s_{path}", runs * len(DIAMOND) / elapsed_s)


async def _loads(dsn: str, target: str, figures: Figures) -> None:
    """Milliseconds until a coordinator knows a chain of 100 steps: the first time, and when it knows it already."""
    async with AsyncClient(target) as client:
        chain = [Step(f"s{n}", depends_on=[f"s{n - 1}"] if n else []) for n in range(_STEPS)]
        await client.create_flow("chain", chain)
    database = Database(dsn)
    await database.open()
    try:
        store = FlowStore(database)
        version_id = (await store.get("chain")).version_id
        cold, cached = [], []
        for _ in range(_LOADS):
            cache = DefinitionCache(store)
            started = time.perf_counter()
            await cache.load(version_id, _STEPS - 1)
            loaded = time.perf_counter()
            assert cache.get(version_id, _STEPS - 1) is not None
            cold.append(loaded - started)
            cached.append(time.perf_counter() - loaded)
    finally:
        await database.close()
    figures.add("definition_load_ms", median(cold) * 1000)
    figures.add("definition_load_ms.cached", median(cached) * 1000)


def run(effort: Effort, figures: Figures) -> None:
    """Both paths in turn on one system, then the loads."""
    with running_stack("bench.handlers:worker_paths", 400) as stack:
        asyncio.run(_paths(stack.target, effort, figures))
        asyncio.run(_loads(stack.dsn, stack.target, figures))
    figures.ratio("path_ratio", "tasks_per_s_dynamic", "tasks_per_s_static")
