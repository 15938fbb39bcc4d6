"""Renews the leases of all sessions here, and compares them with the database.

One statement renews every session; one lists their started tasks. What the database has and this memory does not was
handed out but never delivered (a reply was lost): it goes back. What this memory has and the database does not was
cancelled or taken: the worker is told. Both only when comparisons agree for half a period, since transactions are under
way: their answers come later than what they did. And nothing goes back while a lease that may have brought it is under
way, however long that takes.
"""

from __future__ import annotations

import asyncio
import math

from stepgres_service.engine.completions import Completions
from stepgres_service.engine.contact import Contact
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.registry import SessionRegistry
from stepgres_service.engine.results import Outcome, TaskResult
from stepgres_service.engine.sessions import Knock, Session, Stop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import encode_token
from stepgres_service.errors import Aborted, DeadlineExceeded, Reason
from stepgres_service.store.sessions import SessionStore


class Renewals(Loop):
    """Runs every heartbeat period."""

    name = "renewals"

    def __init__(
        self,
        store: SessionStore,
        registry: SessionRegistry,
        completions: Completions,
        contact: Contact,
        settings: EngineSettings,
    ) -> None:
        super().__init__()
        self._store = store
        self._registry = registry
        self._completions = completions
        self._contact = contact
        self._settings = settings
        #: Seconds for an answer: there must be time for another try on another connection.
        self._limit_s = settings.lease_s / 2
        #: Differences, and the monotonic time of the first comparison since which each has been found.
        self._undelivered: dict[bytes, float] = {}
        #: For each of the former, the last lease that had been planned when it was found first.
        self._brought_by: dict[bytes, int] = {}
        self._vanished: dict[bytes, float] = {}

    async def run_once(self) -> float:
        """Renews and compares."""
        self._expel_silent()
        sessions = list(self._registry.sessions.values())
        if sessions:
            now = asyncio.get_running_loop().time()
            renewed = await self._store.renew(
                [s.id for s in sessions],
                [s.epoch for s in sessions],
                round(self._settings.lease_s * 1000),
                [s.credits for s in sessions],
                [round((now - s.last_seen) * 1000) for s in sessions],
                limit_s=self._limit_s,
            )
            self._contact.succeeded()
            for session in sessions:
                if session.id not in renewed and self._registry.sessions.get(session.id) is session:
                    self._registry.expelled(
                        session,
                        Aborted(
                            "the session was resumed elsewhere, or its lease ran out; connect again",
                            reason=Reason.SESSION_EXPIRED,
                        ),
                    )
            await self._compare([s for s in sessions if s.id in renewed])
        return self._settings.heartbeat_s

    def failed(self, error: Exception) -> None:
        """An error here means that leases run out: contact begins anew."""
        self._contact.failed()
        super().failed(error)

    def _expel_silent(self) -> None:
        now = asyncio.get_running_loop().time()
        for session in list(self._registry.sessions.values()):
            if not session.connected:
                continue
            if now - session.writing_since > self._settings.lease_s:
                self._registry.unread(session)
            elif now - session.last_seen > self._settings.lease_s:
                session.end(
                    DeadlineExceeded(
                        f"nothing came from the worker for {self._settings.lease_s:g} s; send some frame at least every "
                        f"{self._settings.heartbeat_s:g} s",
                        reason=Reason.WORKER_SILENT,
                    )
                )
            elif now - session.last_seen > self._settings.heartbeat_s:
                session.send_control(Knock())

    async def _compare(self, sessions: list[Session]) -> None:
        here = {token: session for session in sessions for token in session.leases}
        leases = await self._store.leases([s.id for s in sessions], limit_s=self._limit_s)
        stored = {encode_token(*lease) for lease in leases}
        undelivered = stored - here.keys()
        # A lease may have been delivered while the statement ran.
        undelivered -= {token for session in sessions for token in session.leases}
        # What has a result under way gets its verdict.
        vanished = {token for token in here.keys() - stored if here[token].leases.get(token) != math.inf}
        by_id = {session.id: session for session in sessions}
        now = asyncio.get_running_loop().time()
        self._undelivered = {token: self._undelivered.get(token, now) for token in undelivered}
        self._vanished = {token: self._vanished.get(token, now) for token in vanished}
        dispatcher = self._completions.dispatcher
        self._brought_by = {token: self._brought_by.get(token, dispatcher.planned) for token in undelivered}
        back = [
            TaskResult(by_id[token[:16]], token, Outcome.UNDELIVERED, acknowledge=False)
            for token in self._settled(self._undelivered, now)
            if dispatcher.is_settled(self._brought_by[token])
        ]
        if back:
            self._completions.add(back)
        self._stop_vanished(self._settled(self._vanished, now), here)

    def _settled(self, differences: dict[bytes, float], now: float) -> set[bytes]:
        """Those found for so long that no answer can be on its way. (Comparisons may follow each other at once.)"""
        return {token for token, since in differences.items() if now - since >= self._settings.heartbeat_s / 2}

    @staticmethod
    def _stop_vanished(tokens: set[bytes], here: dict[bytes, Session]) -> None:
        by_session: dict[Session, list[bytes]] = {}
        for token in tokens:
            session = here[token]
            if session.leases.pop(token, None) is not None:
                by_session.setdefault(session, []).append(token)
        for session, lost in by_session.items():
            session.send_control(Stop(lost, "the lease is over: the run ended, or the task was taken back", lost=True))
