"""Starts runs and waits for them, as any user would: through the public SDK."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stepgres_worker import AsyncClient, RunSpec, Step

#: Runs in one StartRuns call.
CHUNK = 500
#: StartRuns calls at the same time.
_CALLERS = 2
#: Steps of the diamond, each with its dependencies.
DIAMOND: dict[str, list[str]] = {"split": [], "left": ["split"], "right": ["split"], "join": ["left", "right"]}


async def define(client: AsyncClient, flow: str, steps: dict[str, list[str]], *, queue: str = "") -> None:
    """Defines a flow of single steps."""
    await client.create_flow(flow, [Step(slug, depends_on=deps) for slug, deps in steps.items()], queue=queue)


async def start_many(client: AsyncClient, flow: str, runs: int, input: Any = None) -> None:
    """Starts runs of a flow in full chunks, two calls at a time."""
    left = runs

    async def caller() -> None:
        nonlocal left
        while left > 0:
            count, left = min(CHUNK, left), left - CHUNK
            for result in await client.start_runs([RunSpec(flow, input)] * count):
                if result.error is not None:
                    raise result.error

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


async def all_ended(client: AsyncClient, flow: str = "") -> None:
    """Waits until no run (of the flow) is under way."""
    while (await client.list_runs(flow=flow, status="started", page_size=1)).items:
        await asyncio.sleep(0.05)


async def timed_runs(client: AsyncClient, flow: str, runs: int, input: Any = None) -> float:
    """Seconds from the first StartRuns call to the last terminal run of the flow."""
    started = time.perf_counter()
    await start_many(client, flow, runs, input)
    await all_ended(client, flow)
    return time.perf_counter() - started
