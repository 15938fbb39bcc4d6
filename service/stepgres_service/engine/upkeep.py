"""The small loops that move waiting work on: the poll, due retries, large maps, progress reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stepgres_service.engine.dispatch import Dispatcher
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import decode_token
from stepgres_service.errors import Unavailable
from stepgres_service.store.flows import FlowStore
from stepgres_service.store.tasks import TaskStore

#: Seconds between looks of the scout.
_SCOUT_S = 1.0

#: Seconds between looks of the pruner when it found nothing.
_REST_S = 30.0


class Poller(Loop):
    """The truth behind the notifications: asks which routes have messages, while any worker is connected."""

    name = "poller"

    def __init__(self, store: TaskStore, dispatcher: Dispatcher, settings: EngineSettings) -> None:
        super().__init__()
        self._store = store
        self._dispatcher = dispatcher
        self._settings = settings

    async def run_once(self) -> float:
        """Wakes the dispatcher with what waits."""
        if self._dispatcher.sessions:
            self._dispatcher.wake(route_id for route_id, _ in await self._store.ready_routes())
        return self._settings.poll_s


class Scout(Loop):
    """Moves on where leases begin to look, once a second while there are leases.

    Each lease leaves dead index entries in front of the next one, until the next vacuum.
    """

    name = "scout"

    def __init__(self, store: TaskStore, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._store = store
        self._dispatcher = dispatcher
        #: Leases that had been planned when it looked last.
        self._planned = 0

    async def run_once(self) -> float:
        """Looks where work waits, if leases were planned since the last time."""
        if self._dispatcher.planned == self._planned:
            return _SCOUT_S
        self._planned = self._dispatcher.planned
        begun = asyncio.get_running_loop().time()
        self._dispatcher.seen(await self._store.ready_routes())
        # Under an old snapshot it steps slowly: it takes a fifth of the time at most.
        return max(_SCOUT_S, 4 * (asyncio.get_running_loop().time() - begun))


class Promoter(Loop):
    """Sends retries when they are due: sleeps until the next one, a second at the most."""

    name = "promoter"

    def __init__(self, store: TaskStore, on_promoted: Callable[[], None]) -> None:
        super().__init__()
        self._store = store
        self._on_promoted = on_promoted

    async def run_once(self) -> float:
        """Promotes a batch."""
        promoted, next_due_s = await self._store.promote_tasks()
        if promoted:
            self._on_promoted()
        if next_due_s is None:
            return 1.0
        # A due retry whose run is locked shows up as overdue: look again soon, but do not spin.
        return min(1.0, max(next_due_s, 0.0 if promoted else 0.02))


class Expander(Loop):
    """Writes the rows of large maps, chunk by chunk, while there are any."""

    name = "expander"

    def __init__(self, store: TaskStore, settings: EngineSettings) -> None:
        super().__init__()
        self._store = store
        self._settings = settings

    async def run_once(self) -> float:
        """Writes a chunk."""
        return 0.0 if await self._store.expand_maps() else self._settings.poll_s


class ProgressWriter(Loop):
    """Writes what handlers report, the last word of each task, once a second."""

    name = "progress"

    def __init__(self, store: TaskStore) -> None:
        super().__init__()
        self._store = store
        self._reports: dict[bytes, tuple[float, str]] = {}

    def report(self, token: bytes, fraction: float, message: str) -> None:
        """Takes a report; a later one of the same lease replaces it."""
        self._reports[token] = (fraction, message)

    async def run_once(self) -> float:
        """Writes what came since the last time."""
        reports, self._reports = self._reports, {}
        rows = [
            (*lease, fraction, message)
            for token, (fraction, message) in reports.items()
            if (lease := decode_token(token)) is not None
        ]
        if rows:
            try:
                await self._store.record_progress(rows)
            except Unavailable:
                # Kept for the next time, where nothing newer came.
                self._reports = reports | self._reports
                raise
        return 1.0


class Pruner(Loop):
    """Deletes, a batch at a time, what nobody needs: the rows of deleted flows' runs and of runs past the retention age,
    inline plans without a run, and names that nothing refers to any more."""

    name = "pruner"

    def __init__(self, store: FlowStore, settings: EngineSettings) -> None:
        super().__init__()
        self._store = store
        self._retention_s = settings.retention_s

    async def run_once(self) -> float:
        """Deletes a batch; goes on while there is more, half of the time at most, else looks again after a while."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        pruned = await self._store.prune_deleted_runs() + await self._store.prune_names()
        if self._retention_s is not None:
            pruned += await self._store.prune_ended_runs(self._retention_s)
        # Behind the runs: the last run of a plan lets go of it.
        pruned += await self._store.prune_plans()
        if pruned:
            return max(0.05, clock() - begun)
        return min(_REST_S, self._retention_s or _REST_S)
