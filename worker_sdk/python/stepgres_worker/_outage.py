"""What a worker's log tells of its connection: that it is there, lost, still lost now and then, and back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ._errors import Unavailable

if TYPE_CHECKING:
    from ._clock import Clock

logger = logging.getLogger("stepgres_worker")

#: Seconds between two warnings of the same outage.
EVERY_S = 30.0


class Outage:
    """One line when the worker is connected, one when that is lost, one each 30 s of an outage, one when it is over.

    Args:
        worker: its name.
        target: the address it connects to.
        clock: counts the seconds of an outage.
    """

    def __init__(self, worker: str, target: str, clock: Clock) -> None:
        self._worker = worker
        self._target = target
        self._clock = clock
        self._connected = False
        self._since: float | None = None
        self._told = 0.0

    def lost(self, error: Exception | None, running: int) -> None:
        """The stream ended; `error` None = the other side closed it. `running` tasks go on."""
        if not self._begin():
            return
        logger.warning(
            "worker %s: the connection to %s is lost (%s); connecting again. %d running tasks go on, and results are "
            "kept until they can be sent",
            self._worker,
            self._target,
            cause_of(error),
            running,
        )

    def failed(self, error: Exception) -> None:
        """A try to connect failed; silent when the last line is younger than 30 s."""
        if self._begin():
            logger.warning("worker %s: %s Trying again until one answers.", self._worker, error)
            return
        now = self._clock.time()
        assert self._since is not None, "it has begun"
        if now - self._told >= EVERY_S:
            self._told = now
            logger.warning(
                "worker %s: no connection to %s for %.0f s (%s); still trying",
                self._worker,
                self._target,
                now - self._since,
                cause_of(error),
            )

    def over(self, *, coordinator: str, resumed: bool, handlers: int, slots: int) -> None:
        """The worker is welcomed."""
        since, self._since = self._since, None
        where = f"{self._target} (coordinator {coordinator})" if coordinator else self._target
        if not self._connected:
            logger.info(
                "worker %s is connected to %s: %s, up to %s at a time",
                self._worker,
                where,
                f"{handlers} handler{'s' * (handlers != 1)}",
                f"{slots} task{'s' * (slots != 1)}",
            )
        elif since is None:
            logger.info("worker %s has moved to %s", self._worker, where)
        else:
            logger.info(
                "worker %s is connected again to %s, after %.1f s; %s",
                self._worker,
                where,
                self._clock.time() - since,
                "its tasks go on" if resumed else "its session had ended meanwhile, others may have its tasks",
            )
        self._connected = True

    def _begin(self) -> bool:
        """Whether an outage begins with this."""
        if self._since is not None:
            return False
        self._since = self._told = self._clock.time()
        return True


def cause_of(error: Exception | None) -> str:
    """Why a stream ended, in plain words and without what to do about it."""
    if error is None:
        return "the coordinator closed it"
    return (error.cause if isinstance(error, Unavailable) else "") or str(error)
