"""The engine of tasks put together: sessions, leases, results and the loops that keep them moving."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Protocol
from uuid import UUID

from stepgres_service.engine.completions import Completions, Watches
from stepgres_service.engine.contact import Contact
from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.dispatch import Dispatcher
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.registry import SessionRegistry
from stepgres_service.engine.renewals import Renewals
from stepgres_service.engine.run_log import log_ended
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.sweeper import Sweeper
from stepgres_service.engine.timeouts import TimeoutLoop
from stepgres_service.engine.upkeep import Expander, Poller, ProgressWriter, Promoter, Pruner, Scout
from stepgres_service.model import RunStatus
from stepgres_service.store.flows import FlowStore
from stepgres_service.store.lane import Lane
from stepgres_service.store.listen import Listener
from stepgres_service.store.pool import Database
from stepgres_service.store.sessions import SessionStore
from stepgres_service.store.tasks import EndedRun, TaskStore


class Sender(Protocol):
    """Commits what its own answers tell: its notifications are no news."""

    def runs_on(self, pid: int) -> bool:
        """Whether a backend is its own."""

    def renew(self) -> None:
        """Gives its connection up before the next use."""


class WorkEngine:
    """Everything between the worker streams and the SQL transitions.

    Args:
        database: the pool.
        definitions: flows by version.
        flows: for the pruner.
        coordinator_id: this coordinator.
        settings: numbers of the engine.
        watches: hear which runs changed or ended.
        starts: starts this coordinator's runs.
    """

    def __init__(
        self,
        database: Database,
        definitions: DefinitionCache,
        flows: FlowStore,
        coordinator_id: UUID,
        settings: EngineSettings,
        watches: Watches,
        starts: Sender,
    ) -> None:
        self.settings = settings
        self.definitions = definitions
        self.tasks = TaskStore(database, settings.payloads)
        self._sessions = sessions = SessionStore(database, coordinator_id, settings.max_lost_leases)
        contact = Contact(asyncio.get_running_loop().time, max(3.0, settings.lease_s / 2))
        self._lanes = [Lane(database, self.tasks) for _ in range(settings.lanes)]
        self.completions = Completions(self._lanes, definitions, settings, watches, self._ended, self.look_around)
        self.dispatcher = Dispatcher(self.tasks, definitions, settings, self.completions.kick)
        self.poller = Poller(self.tasks, self.dispatcher, settings)
        self.registry = SessionRegistry(sessions, self.dispatcher, definitions, settings, self.poller.kick)
        self.progress = ProgressWriter(self.tasks)
        self.expander = Expander(self.tasks, settings)
        self.promoter = Promoter(self.tasks, self.poller.kick)
        self._renewals = Renewals(sessions, self.registry, self.completions, contact, settings)
        self._loops: list[Loop] = [
            self._renewals,
            TimeoutLoop(self.registry, self.completions),
            Sweeper(sessions, self.registry, contact, settings),
            self.poller,
            Scout(self.tasks, self.dispatcher),
            self.promoter,
            self.expander,
            self.progress,
            Pruner(flows, settings),
        ]
        self._touch = watches.touch
        self._senders: tuple[Sender, ...] = (starts, *self._lanes)
        self._listener = Listener(
            database,
            {"pgflow_ready": self._on_ready, "pgflow_ended": self._on_ended, "pgflow_expand": self._on_expand},
            self._listening,
        )

    # ------------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Starts the lanes and the loops."""
        self.completions.start(self.dispatcher)
        self._listener.start()
        for loop in self._loops:
            loop.start()

    async def drain(self, deadline_s: float) -> None:
        """Hands out nothing more, asks the workers to resume elsewhere, and waits until those that hold tasks have.

        Args:
            deadline_s: longest wait. Where there is no other coordinator, workers finish what they have meanwhile.
        """
        self.registry.drain(deadline_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                # Streams end in many ways; a look now and then during a shutdown is simpler than telling of each.
                while any(session.occupied for session in self.registry.sessions.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def stop(self, flush_s: float = 5.0) -> None:
        """Records what waits, ends the streams and stops everything."""
        await asyncio.gather(*(loop.stop() for loop in self._loops))
        await self._listener.stop()
        await self.completions.stop(flush_s)
        await self.registry.stop()
        await self._sessions.stop()

    def unhealthy(self) -> list[str]:
        """Names of the parts that cannot do their work now; empty = healthy."""
        parts = [loop.name for loop in self._loops if not loop.healthy]
        return parts if self.completions.healthy else [*parts, "lanes"]

    # ------------------------------------------------------------------------------------------------ wake-ups

    def wake(self, route_ids: Iterable[int]) -> None:
        """Says that a transaction of ours sent messages on these routes."""
        self.dispatcher.wake(route_ids)

    def runs_ended(self, run_ids: Iterable[UUID]) -> None:
        """Says that a transaction of ours ended runs whose tasks may be leased."""
        self.dispatcher.runs_ended({run_id.bytes for run_id in run_ids})

    def look_around(self) -> None:
        """Notifications or answers may have been missed: look for work, and compare the leases."""
        self.poller.kick()
        self.expander.kick()
        self._renewals.kick()

    def _listening(self) -> None:
        # After a restart of the database another's backend may have the number of one of ours from before: a connection at
        # rest does not notice that it has ended.
        for sender in self._senders:
            sender.renew()
        self.look_around()

    def _on_ready(self, payload: str, pid: int) -> None:
        if any(sender.runs_on(pid) for sender in self._senders):
            return  # its answer has told these routes already
        if payload == "*":
            self.poller.kick()
        else:
            self.dispatcher.wake([int(route_id) for route_id in payload.split(",")])

    def _on_ended(self, payload: str, pid: int) -> None:
        if payload == "*":
            self._renewals.kick()
        else:
            run_ids = {UUID(run_id).bytes for run_id in payload.split(",")}
            self.dispatcher.runs_ended(run_ids)
            self._touch(run_ids, ended=True)

    def _on_expand(self, payload: str, pid: int) -> None:
        self.expander.kick()

    def _ended(self, runs: Sequence[EndedRun]) -> None:
        self._touch([UUID(run.run_id).bytes for run in runs], ended=True)
        # A completed run has no task left; the others may, and their workers should not wait for the notification.
        unsuccessful = {UUID(run.run_id).bytes for run in runs if run.status != RunStatus.COMPLETED}
        if unsuccessful:
            self.dispatcher.runs_ended(unsuccessful)
        log_ended(runs, self.definitions)
