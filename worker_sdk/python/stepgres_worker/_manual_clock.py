"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._clock import Timer


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time for tests: `Worker(…, clock=clock)`, then `await clock.advance(30)`.

    Args:
        start: the first time, in seconds.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, _ManualTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        """The present."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Calls back once time has been moved to `when`."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    async def sleep(self, delay_s: float) -> None:
        """Waits until time has been moved."""
        done = asyncio.get_running_loop().create_future()
        self.call_at(self._now + delay_s, lambda: None if done.done() else done.set_result(None))
        await done

    async def advance(self, seconds: float) -> None:
        """Moves time, calls what is due in its order, and lets the event loop turn in between."""
        end = self._now + seconds
        await _turn()
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
                await _turn()
        self._now = end
        await _turn()


async def _turn() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
