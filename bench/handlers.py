"""What the benchmarks execute: nothing, so that only the engine is measured."""

from __future__ import annotations

from typing import Any

from stepgres_worker import Worker

#: Steps of the diamond, each with its dependencies.
DIAMOND: dict[str, list[str]] = {"split": [], "left": ["split"], "right": ["split"], "join": ["left", "right"]}


async def nothing(input: Any) -> int:
    """An async handler that returns at once."""
    return 1


def nothing_sync(input: Any) -> int:
    """The same as a function in a thread."""
    return 1


worker = Worker()
worker_sync = Worker()
for _step in DIAMOND:
    worker.step(_step, flow="diamond")(nothing)
    worker_sync.step(_step, flow="diamond")(nothing_sync)
