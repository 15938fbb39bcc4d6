"""How long this coordinator has had unbroken contact with the database.

After an outage every session's lease looks expired, of healthy workers as well; whoever swept at once would take all
their tasks away. So a coordinator sweeps only after a whole lease in which nothing of its own failed.
"""

from __future__ import annotations

from collections.abc import Callable


class Contact:
    """Measures unbroken contact.

    Args:
        clock: monotonic seconds.
        max_gap_s: seconds between two successes beyond which contact was broken, though nothing failed: this process
            was asleep, or what it asked hung.
    """

    def __init__(self, clock: Callable[[], float], max_gap_s: float) -> None:
        self._clock = clock
        #: As given.
        self.max_gap_s = max_gap_s
        self._since: float | None = None
        self._last = 0.0

    def succeeded(self) -> None:
        """A statement went through."""
        now = self._clock()
        if self._since is None or now - self._last > self.max_gap_s:
            self._since = now
        self._last = now

    def failed(self) -> None:
        """A statement failed: the measure begins anew with the next success."""
        self._since = None

    def unbroken_s(self) -> float:
        """Seconds since the first success after the last failure or gap; 0 while there is none."""
        now = self._clock()
        return 0.0 if self._since is None or now - self._last > self.max_gap_s else now - self._since
