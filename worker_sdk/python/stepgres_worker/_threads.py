"""Threads for synchronous handlers: one queue in, one list out, and at most one wake-up of the loop under way.

`loop.run_in_executor` costs 26-42 µs a task (a future, a lock and a wake-up each). Here a thread appends what it did to
a deque; the first one wakes the loop, which then looks again every millisecond until it finds nothing.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING

logger = logging.getLogger("stepgres_worker")

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ._executor import Execution

#: How often the loop looks for results while they keep coming, and how soon threads are added.
LOOK_S = 0.001
#: A thread that starts fewer executions in LOOK_S is busy with slow ones, and more threads would help.
_QUICK = 4


class Threads:
    """Runs executions in up to `limit` daemon threads.

    Args:
        loop: the event loop that `done` is called on.
        limit: most threads.
        done: called for each execution that ran, with `execution.outcome` set.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, done: Callable[[Execution], None]) -> None:
        self._loop = loop
        self._limit = limit
        self._report = done
        self._tasks: queue.SimpleQueue[Execution | None] = queue.SimpleQueue()
        self._done: deque[Execution] = deque()
        self._awake = False
        self._growing = False
        self._submitted = self._begun = 0
        self.count = 0

    def submit(self, execution: Execution) -> None:
        """Queues an execution."""
        self._submitted += 1
        self._tasks.put(execution)
        if self.count == 0:
            self._start(1)
        if not self._growing and self.count < self._limit:
            self._growing = True
            self._loop.call_later(LOOK_S, self._grow)

    def close(self) -> None:
        """Lets each thread end after what it does now; executions still queued are not run."""
        while True:
            try:
                self._tasks.get_nowait()
            except queue.Empty:
                break
        for _ in range(self.count):
            self._tasks.put(None)
        self.count = 0

    def _start(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._run, name=f"stepgres-handler-{self.count + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more; `_grow` asks again as long as work waits
                if not self.count and not self._growing:
                    logger.warning("no thread for synchronous handlers: %s; trying again", error)
                return
            self.count += 1

    def _grow(self) -> None:
        """Adds threads while work waits behind slow handlers; quick ones gain nothing from more threads."""
        waiting = self._tasks.qsize()
        begun = self._submitted - waiting
        quick, self._begun = begun - self._begun > _QUICK * self.count, begun
        if not waiting or self.count >= self._limit:
            self._growing = False
            return
        if not quick:
            self._start(min(max(1, self.count), waiting, self._limit - self.count))
        self._loop.call_later(LOOK_S, self._grow)

    def _run(self) -> None:
        get, done = self._tasks.get, self._done.append
        while (execution := get()) is not None:
            execution.run_in_thread()
            done(execution)
            if not self._awake:
                self._awake = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _collect(self) -> None:
        done, report = self._done, self._report
        if not done:
            # The flag first, then one more look: whoever appends after it wakes the loop again.
            self._awake = False
            if not done:
                return
            self._awake = True
        while done:
            report(done.popleft())
        self._loop.call_later(LOOK_S, self._collect)
