"""Deadlines of executions without a timer for each: one queue for each distinct timeout, one timer for all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._clock import Clock, Timer
    from ._executor import Execution


class Deadlines:
    """Calls `expire` for each execution that is not finished at its deadline.

    Within one timeout deadlines come in the order in which tasks were received, so each queue is sorted by itself.
    """

    def __init__(self, clock: Clock, expire: Callable[[Execution], None]) -> None:
        self._clock = clock
        self._expire = expire
        self._queues: dict[int, deque[Execution]] = {}
        self._timer: Timer | None = None
        self._due = float("inf")

    def add(self, execution: Execution) -> None:
        """Watches an execution from now on."""
        timeout_s = execution.timeout_s
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = deque()
        while queue and queue[0].finished:
            queue.popleft()
        queue.append(execution)
        due = queue[0].received + timeout_s
        if due < self._due:
            self._arm(due)

    def close(self) -> None:
        """Forgets everything."""
        self._queues.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.call_at(due, self._check)

    def _check(self) -> None:
        now, due = self._clock.time(), float("inf")
        self._timer, self._due = None, due
        for timeout_s, queue in list(self._queues.items()):
            while queue and (queue[0].finished or queue[0].received + timeout_s <= now):
                execution = queue.popleft()
                if not execution.finished:
                    self._expire(execution)
            if queue:
                due = min(due, queue[0].received + timeout_s)
            else:
                del self._queues[timeout_s]
        if due < self._due:
            self._arm(due)


class DrainDeadline:
    """The end of a drain, counted from its first `start`."""

    def __init__(self, clock: Clock, delay_s: float, reached: Callable[[], None]) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._reached = reached
        self._timer: Timer | None = None
        self.passed = False

    def start(self) -> None:
        """Begins to count; no-op the second time."""
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.time() + self._delay_s, self._pass)

    def cancel(self) -> None:
        """Stops counting."""
        if self._timer is not None:
            self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        self._reached()
