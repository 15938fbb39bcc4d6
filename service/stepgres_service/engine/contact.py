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
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None

    def succeeded(self) -> None:
        """A statement went through."""
        if self._since is None:
            self._since = self._clock()

    def failed(self) -> None:
        """A statement failed: the measure begins anew with the next success."""
        self._since = None

    def unbroken_s(self) -> float:
        """Seconds since the first success after the last failure; 0 while there is none."""
        return 0.0 if self._since is None else self._clock() - self._since
