"""Warns when the event loop stands still: a handler blocks it, or something holds the interpreter's lock.

A loop that stands still sends no heartbeats, and after a whole lease the worker loses all its tasks.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ._executor import Executor

logger = logging.getLogger("stepgres_worker")


class Watchdog:
    """A thread that asks the loop for a sign of life and warns after a third of the lease.

    Args:
        executor: knows which handler the loop executes.
        loop: the loop to watch.
        lease_s: seconds of silence that cost the worker its tasks.
        monotonic: for tests.
    """

    def __init__(
        self,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        lease_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._loop = loop
        #: Seconds of silence that are worth a warning: a third of the lease, as soon as a coordinator has named it.
        self.limit_s = lease_s / 3
        self._now = monotonic
        self._ended = threading.Event()
        self._alive = threading.Event()
        self._loop_thread = threading.get_ident()

    def start(self) -> None:
        """Starts the thread; call it on the loop."""
        self._loop_thread = threading.get_ident()
        threading.Thread(target=self._run, name="stepgres-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._alive.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                if not self.look():
                    self._alive.wait()
            except RuntimeError:  # the loop is closed
                return
            self._ended.wait(self.limit_s / 2)

    def look(self) -> bool:
        """Asks once; False after a warning: the loop has not answered within a third of the lease."""
        self._alive.clear()
        asked = self._now()
        self._loop.call_soon_threadsafe(self._alive.set)
        answered = self._alive.wait(self.limit_s)
        waited = self._now() - asked
        if answered and waited <= self.limit_s:
            return True
        if self._ended.is_set():
            return True
        current = self._executor.current
        name = current.handler.name if current is not None and not current.finished else "something else than a handler"
        if answered:
            logger.warning(
                "the interpreter's lock or the event loop was held for %.1f s, lastly by %s; after a whole lease the "
                "worker loses its tasks: do such work in a subprocess",
                waited,
                name,
            )
        else:
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 there is no public way
            where = "".join(traceback.format_stack(frame)[-4:]) if frame is not None else ""
            logger.warning(
                "%s has held the event loop for %.1f s; after a whole lease the worker loses its tasks: make it a "
                "plain function (it then runs in a thread), or await\n%s",
                name,
                waited,
                where,
            )
        return answered
