"""Fan-out of watches: one loop reads what changed in all watched runs, whoever and however many watch them.

    touch, or 100 ms ──▶ one statement ──▶ states of the runs ──▶ publish, at most 8 times a second ──▶ readers

The loop runs only while something is watched. A transaction of this coordinator that changes a few watched runs reads
them itself; one that changes many makes the loop read at once; what other coordinators commit is found by the tick. A
run's first change is published at once, later ones at a pace that keeps the snapshot, the changes and the end within
ten frames a second; the end waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from stepgres_service.engine.cursors import decode_cursor, invalid_cursor
from stepgres_service.engine.run_refusals import payloads_too_large, run_not_found
from stepgres_service.engine.watched import FrameKind, WatchedRun, WatchFrame
from stepgres_service.errors import Reason, ResourceExhausted, StepgresError, Unavailable
from stepgres_service.model import Run
from stepgres_service.store.run_changes import ChangedRun
from stepgres_service.store.runs import MAX_RESPONSE_BYTES, RunStore

_log = structlog.get_logger(__name__)

_TICK_S = 0.1  # between reads that nothing prompted
_QUIET_S = 0.125  # between changes of one run: 8 a second, with the snapshot and the end 10
_REST = 4.0  # prompted reads rest 4 times as long as the last one took: a fifth of a connection at most
_GIVE_UP_S = 5.0  # a watch ends when its database is away for so long
_FEW = 8  # watched runs that a transaction reads itself: others wait for it


class WatchHub:
    """Follows runs for any number of readers.

    Args:
        store: reads runs.
        max_watches: readers at the same time.
    """

    def __init__(self, store: RunStore, *, max_watches: int = 10_000) -> None:
        self._store = store
        self._max_watches = max_watches
        self._watches = 0
        self._runs: dict[bytes, WatchedRun] = {}
        self._task: asyncio.Task[None] | None = None
        self._prompted = asyncio.Event()
        self._draining = False
        self._read_at = 0.0
        self._rested_at = 0.0
        self._heard_at = 0.0

    def touch(self, run_ids: Iterable[bytes], *, ended: bool = False) -> None:
        """Says that runs have changed: their watches hear of it at once. Costs nothing while nothing is watched.

        Args:
            run_ids: 16 bytes each.
            ended: the runs are terminal: their end does not wait for the pace of changes.
        """
        if not self._runs:
            return
        now = asyncio.get_running_loop().time()
        for run_id in run_ids:
            watched = self._runs.get(run_id)
            if watched is None:
                continue
            watched.touched = True
            if ended or watched.quiet_until <= now:
                self._prompted.set()

    def due(self, run_ids: Iterable[bytes]) -> Sequence[tuple[UUID, int]]:
        """The watched among runs that a transaction is about to change, each with the revision known; none of many.

        Args:
            run_ids: 16 bytes each.
        """
        if not self._runs:
            return ()
        found = {}
        for run_id in run_ids:
            watched = self._runs.get(run_id)
            if watched is not None and (watched.live or watched.latest is None):
                found[watched.run_id] = watched.latest.revision if watched.latest is not None else 0
                if len(found) > _FEW:
                    return ()
        return list(found.items())

    def take(self, changed: Iterable[ChangedRun]) -> None:
        """Takes what a transaction has read of runs that were due, when it is committed."""
        now = asyncio.get_running_loop().time()
        for change in changed:
            watched = self._runs.get(change.run_id.bytes)
            if watched is not None:
                watched.merge(change)
                self._publish(watched, now)

    async def watch(self, run_id: UUID, cursor: str, *, full: bool) -> AsyncGenerator[WatchFrame, None]:
        """Follows a run to its end.

        Args:
            run_id: the run.
            cursor: of the last frame of an earlier watch; empty: begin with a snapshot.
            full: with input and output in the frame that ends the watch.

        Yields:
            A snapshot (without a cursor), changes, the end. Close the iterator to stop watching.

        Raises:
            NotFound: there is no such run, or it is gone with its flow.
            InvalidArgument: the cursor is not of this run; or the payloads do not fit into a response.
            ResourceExhausted: as many watches as allowed are served.
            Unavailable: the database or this coordinator is away; go on with the cursor.
        """
        seen = decode_cursor(cursor, run_id, self._store.system_id) if cursor else None
        watched = self._join(run_id)
        try:
            run = await self._load(watched)
            if seen is None:
                frame = watched.frame(FrameKind.SNAPSHOT, 0)
                seen = frame.run.revision
                yield frame
            elif seen > run.revision:
                await self._check_future(run_id, seen)
            while True:
                run = await watched.wait_beyond(seen)
                if run.status.terminal:
                    yield await self._end(watched, full=full)
                    return
                frame = watched.frame(FrameKind.CHANGE, seen)
                seen = frame.run.revision
                yield frame
        finally:
            self._leave(watched)

    async def stop(self) -> None:
        """Ends every watch; the readers go on at another coordinator."""
        self._draining = True
        for watched in list(self._runs.values()):
            watched.fail(_draining())
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------ readers

    def _join(self, run_id: UUID) -> WatchedRun:
        if self._draining:
            raise _draining()
        if self._watches >= self._max_watches:
            raise ResourceExhausted(
                f"this coordinator serves {self._max_watches} watches already; watch at another, or raise "
                "STEPGRES_MAX_WATCHES",
                reason=Reason.TOO_MANY_STREAMS,
                retry_after_s=5.0,
            )
        watched = self._runs.get(run_id.bytes)
        if watched is None:
            watched = self._runs[run_id.bytes] = WatchedRun(run_id, self._store.system_id)
            watched.loading = _task(self._load_once(watched), "watch: load")
        watched.watchers += 1
        self._watches += 1
        return watched

    async def _load(self, watched: WatchedRun) -> Run:
        if watched.run is None:
            assert watched.loading is not None
            # Shielded: one reader that goes away must not take the state from the others.
            await asyncio.shield(watched.loading)
        assert watched.run is not None
        return watched.run

    async def _load_once(self, watched: WatchedRun) -> Run:
        try:
            found = await self._store.get_run(watched.run_id, full=False)
            if found is None:
                raise run_not_found(watched.run_id)
        except BaseException:
            self._forget(watched)
            raise
        watched.begin(found[0])
        if watched.live:
            if watched.touched:
                self._prompted.set()
            if not self._draining and (self._task is None or self._task.done()):
                self._read_at = self._heard_at = asyncio.get_running_loop().time()
                self._task = asyncio.create_task(self._run(), name="watch hub", context=Context())
        else:
            # Not kept for later readers: a retried run lives again.
            self._forget(watched)
        return found[0]

    async def _check_future(self, run_id: UUID, seen: int) -> None:
        """A revision beyond ours may come from a coordinator that heard of it first, or from a lost future."""
        found = await self._store.get_run(run_id, full=False)
        if found is None:
            raise run_not_found(run_id)
        if found[0].revision < seen:
            raise _set_back()

    async def _end(self, watched: WatchedRun, *, full: bool) -> WatchFrame:
        frame = watched.frame(FrameKind.END, 0)
        if not full:
            return frame
        if watched.payloads is None:
            watched.payloads = _task(self._load_payloads(watched.run_id), "watch: payloads")
        run = await asyncio.shield(watched.payloads)
        if watched.full_end is None:
            watched.full_end = replace(frame, run=replace(frame.run, input=run.input, output=run.output))
        return watched.full_end

    async def _load_payloads(self, run_id: UUID) -> Run:
        found = await self._store.get_run(run_id, full=True)
        if found is None:
            raise run_not_found(run_id)
        run, size = found
        if size > MAX_RESPONSE_BYTES:
            raise payloads_too_large(size)
        return run

    def _leave(self, watched: WatchedRun) -> None:
        watched.watchers -= 1
        self._watches -= 1
        if not watched.watchers:
            self._forget(watched)
            for task in (watched.loading, watched.payloads):
                if task is not None and not task.done():
                    task.cancel()

    def _forget(self, watched: WatchedRun) -> None:
        if self._runs.get(watched.run_id.bytes) is watched:
            del self._runs[watched.run_id.bytes]

    # ------------------------------------------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while any(watched.live for watched in self._runs.values()):
            await self._wait()
            try:
                await self.run_once()
            except StepgresError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001  the readers hear of our fault rather than wait for ever
                _log.exception("watching runs failed")
                self._fail_all(StepgresError(f"watching failed: {type(error).__name__}"))

    async def run_once(self) -> None:
        """Reads what changed and publishes what is due."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._read_at + _TICK_S or (self._prompted.is_set() and clock() >= self._rested_at):
            self._prompted.clear()
            self._read_at = clock()
            await self._read()
            now = self._heard_at = clock()
            self._rested_at = now + min(_TICK_S, _REST * (now - self._read_at))
        now = clock()
        for watched in list(self._runs.values()):
            self._publish(watched, now)

    def _publish(self, watched: WatchedRun, now: float) -> None:
        """Shows the latest state to the readers when it is due."""
        if watched.unpublished and (not watched.live or watched.quiet_until <= now):
            watched.publish(now + _QUIET_S)
            if not watched.live:
                self._forget(watched)

    async def _read(self) -> None:
        known = [(w.run_id, w.latest.revision) for w in self._runs.values() if w.live and w.latest is not None]
        if not known:
            return
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                changed, gone = await self._store.changed_runs(known)
        except TimeoutError:
            raise Unavailable(
                "the database does not answer; watch again with the cursor",
                reason=Reason.DATABASE_UNAVAILABLE,
                retry_after_s=1.0,
            ) from None
        asked = dict(known)
        for change in changed:
            watched = self._runs.get(change.run_id.bytes)
            if watched is None or watched.latest is None:
                continue
            if change.revision < min(asked[change.run_id], watched.latest.revision):
                self._give_up(watched, _set_back())
            else:
                watched.merge(change)
        for run_id in gone:
            watched = self._runs.get(run_id.bytes)
            if watched is not None:
                self._give_up(watched, run_not_found(run_id))

    async def _wait(self) -> None:
        """Waits for a prompt (and for the rest that is due after the last read), the tick, or a change to publish."""
        clock = asyncio.get_running_loop().time
        dues = [watched.quiet_until for watched in self._runs.values() if watched.unpublished]
        wake_at = min([self._read_at + _TICK_S, *dues])
        with suppress(TimeoutError):
            async with asyncio.timeout_at(wake_at):
                await self._prompted.wait()
                if self._rested_at > clock():
                    await asyncio.sleep(self._rested_at - clock())

    def _failed(self, error: StepgresError) -> None:
        if asyncio.get_running_loop().time() - self._heard_at >= _GIVE_UP_S or not isinstance(error, Unavailable):
            _log.warning("watches end: the runs cannot be read", error=error.message, runs=len(self._runs))
            self._fail_all(error)

    def _fail_all(self, error: StepgresError) -> None:
        for watched in list(self._runs.values()):
            if watched.live:
                self._give_up(watched, error)

    def _give_up(self, watched: WatchedRun, error: StepgresError) -> None:
        watched.fail(error)
        self._forget(watched)


def _task(work: Coroutine[Any, Any, Run], name: str) -> asyncio.Task[Run]:
    """A task that several readers await; when all of them have gone nobody asks for its error."""
    # A context of its own: what it logs is of no single call.
    task = asyncio.create_task(work, name=name, context=Context())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _set_back() -> StepgresError:
    return invalid_cursor("is ahead of the run: the database was set back")


def _draining() -> Unavailable:
    return Unavailable(
        "this coordinator is shutting down; watch again with the cursor, at another",
        reason=Reason.DRAINING,
        retry_after_s=0.1,
    )
