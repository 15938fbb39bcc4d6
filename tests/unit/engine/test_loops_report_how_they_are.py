"""A loop is healthy while its work succeeds, and never again when something has ended it."""

from __future__ import annotations

import asyncio

from stepgres_service.engine.loop import Loop


async def test_a_loop_that_was_ended_from_within_is_unhealthy() -> None:
    ended = asyncio.Event()

    class Ended(Loop):
        async def run_once(self) -> float:
            ended.set()
            raise asyncio.CancelledError  # something it waited for was cancelled, not it

    loop = Ended()
    loop.start()
    await ended.wait()
    task = loop._task
    assert task is not None
    await asyncio.wait({task})
    assert not loop.healthy
    await loop.stop()


async def test_a_loop_that_was_stopped_is_not_unhealthy() -> None:
    began = asyncio.Event()

    class Fine(Loop):
        async def run_once(self) -> float:
            began.set()
            return 60.0

    loop = Fine()
    loop.start()
    await began.wait()
    assert loop.healthy
    await loop.stop()
    assert loop.healthy
