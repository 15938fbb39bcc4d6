"""The one shape of every background loop: start, stop, run_once.

A loop survives its errors: it logs them, reports itself unhealthy, and tries again with backoff.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import structlog

from stepgres_service.errors import Reason, StepgresError, Unavailable

_log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 5.0


class Loop(ABC):
    """Calls run_once again and again until stopped."""

    #: For logs and health.
    name = "loop"

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._kicked = asyncio.Event()
        self._succeeded = True

    @property
    def healthy(self) -> bool:
        """False from an error until the next success, and for ever when something has ended the loop itself."""
        return self._succeeded and (self._task is None or not self._task.done())

    @abstractmethod
    async def run_once(self) -> float:
        """Does the work that is due. Returns the seconds until the next call, unless kicked before."""

    def start(self) -> None:
        """Starts the loop with a call at once."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    def kick(self) -> None:
        """Makes the next call come at once."""
        self._kicked.set()

    async def stop(self) -> None:
        """Stops the loop and waits for it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failures = 0
        while True:
            self._kicked.clear()
            try:
                delay_s = await self.run_once()
            except Exception as error:  # noqa: BLE001 the loop must outlive whatever its work meets
                failures += 1
                self._succeeded = False
                self.failed(error)
                # The exponent is bounded: after an outage of an hour the power would be beyond what a float can hold.
                delay_s = random.uniform(0, min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(failures, 10)))
                await asyncio.sleep(delay_s)
                continue
            failures = 0
            self._succeeded = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._kicked.wait()

    def failed(self, error: Exception) -> None:
        """Hears of an error; the first of a row is worth a warning, a database that is away no traceback."""
        if isinstance(error, Unavailable):
            _log.warning("loop cannot reach the database; it tries again", loop=self.name, error=error.message)
        else:
            expected = isinstance(error, StepgresError)
            _log.error("loop failed; it tries again", loop=self.name, error=str(error), exc_info=not expected)


@contextlib.asynccontextmanager
async def answered_within(limit_s: float) -> AsyncIterator[None]:
    """Gives up on a database that does not answer: only what ends shows in the health of its loop.

    Args:
        limit_s: seconds for what is asked inside.

    Raises:
        Unavailable: they are over.
    """
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        raise Unavailable(
            f"the database did not answer for {limit_s:g} s", reason=Reason.DATABASE_UNAVAILABLE
        ) from None
