"""Takes back the tasks of sessions whose lease ran out, of any coordinator."""

from __future__ import annotations

import structlog

from stepgres_service.engine.contact import Contact
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.store.sessions import SessionStore

_log = structlog.get_logger(__name__)


class Sweeper(Loop):
    """Runs every second, after a whole lease of unbroken contact."""

    name = "sweeper"

    def __init__(self, store: SessionStore, contact: Contact, settings: EngineSettings) -> None:
        super().__init__()
        self._store = store
        self._contact = contact
        self._settings = settings

    async def run_once(self) -> float:
        """Sweeps, or waits until it may."""
        missing_s = self._settings.lease_s - self._contact.unbroken_s()
        if missing_s > 0:
            await self._store.leases([])  # proves contact without renewing anything
            self._contact.succeeded()
            return min(1.0, missing_s)
        expired = await self._store.sweep()
        self._contact.succeeded()
        for session in expired:
            _log.info("session expired", session=session)
        # A sweep is bounded in its tasks: there may be more.
        return 0.0 if expired else 1.0

    def failed(self, error: Exception) -> None:
        """The measure of contact begins anew."""
        self._contact.failed()
        super().failed(error)
