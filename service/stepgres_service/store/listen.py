"""Listens to the engine's notifications on a connection of its own, and reconnects for ever.

A notification only makes things faster: whatever is missed is found by a poll.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

import psycopg
import structlog

from stepgres_service.store.pool import Database, leads_through_a_pooler
from stepgres_service.store.queries import load_queries

_log = structlog.get_logger(__name__)
_SQL = load_queries("listen")


class Listener:
    """Calls a function for each notification.

    Args:
        database: where to listen: its direct address, never through a transaction pooler.
        channels: pgflow_ready, pgflow_ended and pgflow_expand -> function of (payload, backend pid of the
            sender).
        on_connected: called after each (re)connection: notifications may have been missed.
    """

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, Callable[[str, int], None]],
        on_connected: Callable[[], None],
    ) -> None:
        self._database = database
        self._channels = channels
        self._on_connected = on_connected
        self._task: asyncio.Task[None] | None = None
        #: True while notifications arrive.
        self.healthy = False

    def start(self) -> None:
        """Starts listening."""
        self._task = asyncio.create_task(self._run(), name="listener")

    async def stop(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                if self.healthy or not failures:
                    _log.warning("no notifications come; polls go on, reconnecting", error=str(error).strip())
            except Exception:  # noqa: BLE001  whatever it was: without notifications everything waits for a poll
                _log.exception("listening failed; polls go on, reconnecting")
            if self.healthy:
                failures = 0
            self.healthy = False
            failures += 1
            await asyncio.sleep(random.uniform(0, min(5.0, 0.1 * 2 ** min(failures, 10))))

    async def _listen(self) -> None:
        conn = await self._database.connect(direct=True)
        try:
            if await leads_through_a_pooler(conn):
                _log.warning(
                    "LISTEN leads through a pooler, which may lose notifications: work then waits for a poll; set "
                    "STEPGRES_LISTEN_DATABASE_URL to the direct address of the database"
                )
            await conn.execute(_SQL["listen"])
            self.healthy = True
            self._on_connected()
            async for notification in conn.notifies():
                self._hear(notification)
        finally:
            await conn.close()

    def _hear(self, notification: psycopg.Notify) -> None:
        try:
            self._channels[notification.channel](notification.payload, notification.pid)
        except Exception:  # noqa: BLE001  anybody may notify anything; it must not end the listening
            _log.exception(
                "a notification could not be handled; the polls find what it meant",
                channel=notification.channel,
                payload=notification.payload[:200],
            )
