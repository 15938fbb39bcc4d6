"""Time as the SDK sees it: monotonic, and replaceable by `stepgres_worker.testing.ManualClock`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Forgets the call."""


class Clock(Protocol):
    """A monotonic clock with timers; all times are seconds."""

    def time(self) -> float:
        """The present."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Calls back on the event loop at `when` or soon after."""

    async def sleep(self, delay_s: float) -> None:
        """Waits."""


class LoopClock:
    """The clock of the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        """The present."""
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Calls back on the event loop at `when` or soon after."""
        return self._loop.call_later(max(0.0, when - time.monotonic()), callback)

    async def sleep(self, delay_s: float) -> None:
        """Waits."""
        await asyncio.sleep(delay_s)


def full_jitter_s(attempt: int, random: Callable[[], float], *, cap_s: float) -> float:
    """Seconds to wait before attempt `attempt` + 1: random between 0 and min(cap, 0.1 s * 2^attempt).

    Args:
        attempt: failed attempts before, from 0.
        random: gives numbers in [0, 1).
        cap_s: longest wait.
    """
    return random() * min(cap_s, 0.1 * 2.0 ** min(attempt, 20))
