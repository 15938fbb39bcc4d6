"""Leases and results: the statements of the hot path, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import RowMaker, tuple_row

from stepgres_service.store.arrays import (
    BigintColumn,
    BoolColumn,
    IntColumn,
    SmallintColumn,
    TextColumn,
    UuidColumn,
)
from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries
from stepgres_service.store.run_changes import ChangedRun, ask_for_changes, read_changes

_SQL = load_queries("tasks")

#: How long results wait for a lock: somebody may sit on a run, and others wait behind it. What could not be had is tried
#: again apart, so there is no need for more; and more briefly, since it has waited long already.
_LONG_WAIT_MS, _BRIEF_WAIT_MS = 1000, 100


class LeasedTask(NamedTuple):
    """A task in the hands of a session, as lease_tasks answers it."""

    #: Position of the session in the request, from 1.
    session_item: int
    #: The run in canonical text form.
    run_id: str
    #: The run as 16 bytes.
    run_key: bytes
    #: Index of the step.
    step_index: int
    #: Index of the task.
    task_index: int
    #: Number of the hand-out.
    lease_seq: int
    #: Failures plus 1.
    attempt: int
    #: The version whose step it is.
    version_id: int
    #: Scope of the run.
    scope: str
    #: Trace context of the run.
    traceparent: str | None
    #: Input as JSON.
    input: bytes


@dataclass(slots=True)
class LeaseRequest:
    """Asks for tasks of some routes for some sessions; the columns of each run side by side."""

    #: Routes in the order of preference.
    route_ids: list[int]
    #: Beside them: messages of lower ids are not looked at.
    from_ids: list[int]
    #: Sessions, 16 bytes each.
    session_ids: list[bytes]
    #: Their workers.
    worker_ids: list[int]
    #: How many tasks each may get.
    credits: list[int]


@dataclass(slots=True)
class ResultColumns:
    """A batch of results; the columns run side by side."""

    #: Runs, 16 bytes each.
    run_ids: Sequence[bytes]
    step_indexes: Sequence[int]
    task_indexes: Sequence[int]
    lease_seqs: Sequence[int]
    #: Sessions, 16 bytes each.
    session_ids: Sequence[bytes]
    #: 1 completed, 2 failed, 3 released, 4 never delivered.
    outcomes: Sequence[int]
    #: JSON of those that completed.
    outputs: Sequence[bytes | None]
    #: None when nothing failed; else the columns of failures.
    codes: Sequence[bytes | None] | None = None
    messages: Sequence[bytes | None] | None = None
    details: Sequence[bytes | None] | None = None
    retryable: Sequence[bool] | None = None
    retry_after_ms: Sequence[int | None] | None = None


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended in this transaction."""

    run_id: str
    version_id: int
    status: str
    duration_s: float


@dataclass(slots=True)
class Exchange:
    """What one transaction did."""

    #: A verdict for each result: 1 recorded, 2 duplicate, 3 stale, 4 rejected.
    verdicts: Sequence[int] = ()
    #: Routes with new messages.
    ready_routes: Sequence[int] = ()
    #: Runs that ended.
    ended: Sequence[EndedRun] = ()
    #: For each lease request its tasks.
    leased: list[list[LeasedTask]] = field(default_factory=list)
    #: What became of the watched runs.
    changed: Sequence[ChangedRun] = ()


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """Sizes that the transitions enforce."""

    #: Bytes of all outputs of a map step.
    max_map_output_bytes: int = 16 << 20
    #: Bytes of an assembled input.
    max_task_input_bytes: int = 16 << 20
    #: Items of a map.
    max_items: int = 100_000


def _leased_rows(_cursor: AsyncCursor[Any]) -> RowMaker[LeasedTask]:
    return LeasedTask._make


class TaskStore:
    """Calls the transitions of tasks."""

    def __init__(self, database: Database, limits: PayloadLimits) -> None:
        self._database = database
        self._limits = limits

    async def exchange(
        self,
        conn: AsyncConnection[Any],
        results: ResultColumns | None,
        requests: Sequence[LeaseRequest],
        *,
        patient: bool = True,
        watched: Sequence[tuple[UUID, int]] = (),
    ) -> Exchange:
        """Records results and leases tasks in one transaction and one round trip.

        Args:
            conn: a connection of the caller's own, in autocommit, that knows the columns of store/arrays.
            results: None when there is nothing to record; the transaction then commits without waiting for the disk.
            requests: may be empty.
            patient: waits for the locks of the results up to 1 s; else 0.1 s. Leases wait for nothing.
            watched: runs of the results whose state is wanted when they are recorded, each with the revision known.

        Raises:
            psycopg.Error: as it came; the caller decides whether to send the batch again.
        """
        exchange = Exchange()
        # In autocommit a pipeline is one transaction; it commits at its end.
        async with conn.pipeline():
            recorded = None if results is None else await self._record(conn, results, patient=patient)
            changes = await ask_for_changes(conn, watched) if watched else None
            cursors = [await self._lease(conn, request, commit_soon=results is None) for request in requests]
        if recorded is not None:
            self._read_recorded(await recorded.fetchone(), exchange)
        if changes is not None:
            exchange.changed, _ = read_changes(await changes.fetchall())
        exchange.leased = [await cursor.fetchall() for cursor in cursors]
        return exchange

    async def _record(self, conn: AsyncConnection[Any], results: ResultColumns, *, patient: bool) -> AsyncCursor[Any]:
        failed = results.codes is not None
        limits = self._limits
        cursor = conn.cursor(binary=True, row_factory=tuple_row)
        return await cursor.execute(
            _SQL["record_results"],
            (
                UuidColumn(results.run_ids),
                SmallintColumn(results.step_indexes),
                IntColumn(results.task_indexes),
                IntColumn(results.lease_seqs),
                UuidColumn(results.session_ids),
                SmallintColumn(results.outcomes),
                TextColumn(results.outputs),
                TextColumn(results.codes or ()) if failed else None,
                TextColumn(results.messages or ()) if failed else None,
                TextColumn(results.details or ()) if failed else None,
                BoolColumn(results.retryable or ()) if failed else None,
                BigintColumn(results.retry_after_ms or ()) if failed else None,
                limits.max_map_output_bytes,
                limits.max_task_input_bytes,
                limits.max_items,
                _LONG_WAIT_MS if patient else _BRIEF_WAIT_MS,
            ),
            prepare=True,
        )

    async def _lease(
        self, conn: AsyncConnection[Any], request: LeaseRequest, *, commit_soon: bool
    ) -> AsyncCursor[LeasedTask]:
        cursor = conn.cursor(binary=True, row_factory=_leased_rows)
        return await cursor.execute(
            _SQL["lease_tasks"],
            (
                IntColumn(request.route_ids),
                UuidColumn(request.session_ids),
                IntColumn(request.worker_ids),
                IntColumn(request.credits),
                BigintColumn(request.from_ids),
                commit_soon,
            ),
            prepare=True,
        )

    @staticmethod
    def _read_recorded(row: Any, exchange: Exchange) -> None:
        verdicts, ready_routes, run_ids, version_ids, statuses, durations = row
        exchange.verdicts = verdicts
        exchange.ready_routes = ready_routes or ()
        if run_ids:
            exchange.ended = [EndedRun(*ended) for ended in zip(run_ids, version_ids, statuses, durations, strict=True)]

    async def locked_runs(self, conn: AsyncConnection[Any], run_ids: Collection[bytes]) -> dict[bytes, int]:
        """Those of some runs that somebody else has locked, and the transaction that has.

        Args:
            conn: a connection of the caller's own, in autocommit.
            run_ids: 16 bytes each.

        Raises:
            psycopg.Error: as it came.
        """
        cursor = conn.cursor(binary=True, row_factory=tuple_row)
        async with conn.transaction():
            # It waits for no row, but somebody may have locked the table.
            await conn.execute(_SQL["look_briefly"], (str(_BRIEF_WAIT_MS),))
            await cursor.execute(_SQL["locked_runs"], {"run_ids": [UUID(bytes=run_id) for run_id in run_ids]})
        return {row[0]: row[1] for row in await cursor.fetchall()}

    async def run_input(self, session_id: bytes, run_id: bytes, step: int, task: int, seq: int) -> bytes | None:
        """The input of the run that a held lease belongs to; None when the lease is not held."""
        async with self._database.connection() as conn:
            cursor = conn.cursor(binary=True, row_factory=tuple_row)
            await cursor.execute(
                _SQL["run_input_of_lease"], (UUID(bytes=run_id), step, task, seq, UUID(bytes=session_id))
            )
            row = await cursor.fetchone()
        return row[0] if row else None

    async def routes(self, route_ids: Sequence[int]) -> list[tuple[int, str, str]]:
        """What routes mean: (route id, scope, handler)."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["routes"], (list(route_ids),))
            return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def ready_routes(self) -> list[tuple[int, int | None]]:
        """The routes that have a message now: (route id, id of the first message).

        The id is None where only tasks wait that go first in any case.
        """
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["ready_routes"])
            return [(row[0], row[1]) for row in await cursor.fetchall()]

    async def promote_tasks(self) -> tuple[int, float | None]:
        """Sends retries that are due. Returns how many, and the seconds until the next is due (None: none waits)."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["promote_tasks"])).fetchone()
        assert row is not None
        return row[0], None if row[1] is None else row[1] / 1000

    async def expand_maps(self) -> bool:
        """Writes the next chunk of a large map; True when there was one."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["expand_maps"])).fetchone()
        return bool(row and row[0])

    async def record_progress(self, reports: Sequence[tuple[bytes, bytes, int, int, int, float, str]]) -> None:
        """Keeps what handlers last reported.

        Args:
            reports: (session, run, step, task, lease_seq, fraction, message) each.
        """
        sessions, runs, steps, tasks, seqs, fractions, messages = zip(*reports, strict=True)
        async with self._database.connection() as conn:
            await conn.execute(
                _SQL["record_progress"],
                (
                    [UUID(bytes=run) for run in runs],
                    list(steps),
                    list(tasks),
                    list(seqs),
                    [UUID(bytes=session) for session in sessions],
                    list(fractions),
                    list(messages),
                ),
            )
