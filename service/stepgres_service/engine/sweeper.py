"""Takes back the tasks of sessions whose lease ran out, of any coordinator."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from stepgres_service.engine.contact import Contact
from stepgres_service.engine.loop import Loop, answered_within
from stepgres_service.engine.registry import SessionRegistry
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.store.sessions import SessionStore

_log = structlog.get_logger(__name__)


class Sweeper(Loop):
    """Runs every second, after a whole lease of unbroken contact."""

    name = "sweeper"

    def __init__(
        self, store: SessionStore, registry: SessionRegistry, contact: Contact, settings: EngineSettings
    ) -> None:
        super().__init__()
        self._store = store
        self._registry = registry
        self._contact = contact
        self._settings = settings
        #: The database's time as it was told last; None: no contact yet.
        self._heard_at: datetime | None = None

    async def run_once(self) -> float:
        """Sweeps, or waits until it may."""
        await self._registry.close_again()
        missing_s = self._settings.lease_s - self._contact.unbroken_s()
        heard_at = self._heard_at
        if missing_s > 0 or heard_at is None:
            async with answered_within(self._contact.max_gap_s):
                self._heard_at = await self._store.clock()
            self._contact.succeeded()
            return max(0.0, min(1.0, missing_s))
        # What hangs until the database is back may be the first that runs then, before any renewal: the database itself
        # must refuse it.
        max_gap_s = self._contact.max_gap_s
        async with answered_within(max_gap_s):
            expired, self._heard_at = await self._store.sweep(heard_at, max_gap_s)
        for session in expired:
            _log.info("session expired", session=session)
        if self._heard_at - heard_at > timedelta(seconds=max_gap_s):
            # It stood still, or its clock leapt: either way leases look older than they are.
            self._contact.failed()
            return 0.0
        self._contact.succeeded()
        # A sweep is bounded in its tasks: there may be more.
        return 0.0 if expired else 1.0

    def failed(self, error: Exception) -> None:
        """The measure of contact begins anew."""
        self._contact.failed()
        super().failed(error)
