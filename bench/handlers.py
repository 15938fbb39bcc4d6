"""What the benchmarks execute: nothing, so that only the engine is measured."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.load import DIAMOND
from stepgres_worker import Flow, Worker

#: Seconds that the handler `wait` waits, as for a slow API.
WAIT_S = 60.0


async def nothing(input: Any) -> int:
    """An async handler that returns at once."""
    return 1


def nothing_sync(input: Any) -> int:
    """The same as a function in a thread."""
    return 1


async def same(input: Any) -> Any:
    """Returns the run's payload: what a step's output weighs is what its input weighed."""
    return input["run"]


async def wait(input: Any) -> int:
    """Waits for something that takes long."""
    await asyncio.sleep(WAIT_S)
    return 1


#: Serves whatever flow says `nothing`, `same` or `wait`, and the steps of the flow `diamond`.
worker = Worker()
worker_sync = Worker()
worker.step("nothing")(nothing)
worker.step("same")(same)
worker.step("wait")(wait)
for _step in DIAMOND:
    worker.step(_step, flow="diamond")(nothing)
    worker_sync.step(_step, flow="diamond")(nothing_sync)

#: The diamond in code.
static_diamond = Flow("static_diamond")
for _step, _needs in DIAMOND.items():
    static_diamond.step(slug=_step, depends_on=_needs)(nothing)
#: Serves the diamond in code, and steps that name a handler `nothing`.
worker_paths = Worker(static_diamond)
worker_paths.step("nothing")(nothing)
