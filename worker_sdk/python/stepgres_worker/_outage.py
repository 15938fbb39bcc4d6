"""What a worker's log tells of a lost connection: that it is lost, now and then that it still is, and that it is back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._clock import Clock

logger = logging.getLogger("stepgres_worker")

#: Seconds between two warnings of the same outage.
_EVERY_S = 30.0


class Outage:
    """Counts the tries of an outage, and is silent most of the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._told = 0.0

    def tell(self, what: str, error: object) -> None:
        """Notes a failed try; warns of the first and then every 30 s.

        Args:
            what: what does not work, for people.
            error: why.
        """
        now = self._clock.time()
        if self._since is None:
            self._since = now
        elif now - self._told < _EVERY_S:
            return
        else:
            what = f"{what}, for {now - self._since:.0f} s now"
        self._told = now
        logger.warning("%s: %s; trying again until it works", what, error)

    def over(self) -> float | None:
        """Ends it; the seconds it lasted, None when there was none."""
        since, self._since = self._since, None
        return None if since is None else self._clock.time() - since
