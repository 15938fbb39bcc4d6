"""Handlers that wait until a test lets them go."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Gate:
    """Async handlers that wait: `started` counts those that began, `open()` lets all go, one by one with `one()`."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.cancelled: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._open = False
        self._changed = asyncio.Condition()

    async def __call__(self, input: Any) -> Any:
        self.started.append(input)
        async with self._changed:
            self._changed.notify_all()
        if not self._open:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            except asyncio.CancelledError:
                self.cancelled.append(input)
                async with self._changed:
                    self._changed.notify_all()
                raise
        return input

    def open(self) -> None:
        """Lets all go, also those to come."""
        self._open = True
        while self._waiting:
            self.one()

    def one(self) -> None:
        """Lets the one go that waits longest."""
        waiting = self._waiting.pop(0)
        if not waiting.done():
            waiting.set_result(None)

    async def has_started(self, count: int) -> None:
        """Waits until so many have begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.started) >= count)

    async def has_cancelled(self, count: int) -> None:
        """Waits until so many were cancelled."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.cancelled) >= count)


class ThreadGate:
    """A sync handler that waits, for at most ten seconds."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go = threading.Event()
        self.returned = threading.Semaphore(0)

    def __call__(self, input: Any) -> Any:
        self.began.release()
        assert self.go.wait(10), "nobody opened the gate"
        self.returned.release()
        return input


async def acquire(semaphore: threading.Semaphore) -> None:
    """Waits for a thread without holding the loop."""
    assert await asyncio.to_thread(semaphore.acquire, timeout=10), "the thread did not get there"
