"""Runs: starting, reading, watching, cancelling and retrying them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import namedtuple_row

from stepgres_service.errors import StepgresError
from stepgres_service.model import Run, RunStatus
from stepgres_service.store.arrays import ByteaColumn, IntColumn, TextColumn, UuidColumn, register_columns
from stepgres_service.store.lane import judge
from stepgres_service.store.own_connection import OwnConnection
from stepgres_service.store.pinned_reads import fetch_pinned, pin_plans
from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries
from stepgres_service.store.run_changes import ChangedRun, ask_for_changes, read_changes
from stepgres_service.store.run_rows import run_of, run_with_steps
from stepgres_service.store.tasks import PayloadLimits

_SQL = load_queries("runs")

#: Bytes of payloads that a response carries at most; the rest of a gRPC message of 20 MiB is room for everything else.
MAX_RESPONSE_BYTES = 18 << 20

#: Runs and tasks on a page with payloads at most; such a page may be shorter still.
FULL_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run to start."""

    #: UUIDv7 of our making.
    run_id: UUID
    #: Slug of the flow.
    flow: str
    #: Version; 0 means the latest.
    version: int
    #: JSON as it came, UTF-8.
    input: bytes
    #: Scope of its tasks.
    scope: str = ""
    #: None: not idempotent.
    idempotency_key: str | None = None
    #: sha256 of the input; None without a key.
    input_hash: bytes | None = None
    #: W3C trace context.
    traceparent: str | None = None
    #: Definition of the inline plan that `flow` names, as define_plans takes it; None for a flow.
    plan: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes that it brings along."""
        return len(self.input) + len(self.plan or b"")


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """What start_runs answered for one item; its words are listed in 1240_fn_start_runs.sql."""

    #: The run, when it was created or exists; of a reused key the run that has it.
    run_id: UUID | None
    verdict: str
    #: Facts of a refusal.
    detail: str | None
    #: Version of the run.
    version: int | None
    #: Status of the run.
    status: str | None


@dataclass(frozen=True, slots=True)
class StartedBatch:
    """What one start transaction did."""

    #: In the order of the items.
    verdicts: list[StartVerdict]
    #: Routes that have new messages, with repetitions.
    ready_routes: Sequence[int]
    #: The runs that were asked for, without steps and payloads.
    runs: dict[UUID, Run]


@dataclass(frozen=True, slots=True)
class RetryVerdict:
    """What became of a retry."""

    #: retried; started or completed: the run stays as it was.
    verdict: str
    #: Routes that may have new messages.
    ready_routes: list[int]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list has; None and 0 mean all."""

    flow: str | None = None
    version: int = 0
    status: RunStatus | None = None
    #: Started at this time or later.
    start_min: datetime | None = None
    #: Started before this time.
    start_max: datetime | None = None


class RunStore:
    """Calls the transitions of runs and reads them.

    Args:
        database: where they are.
        limits: sizes that start_runs enforces.
    """

    def __init__(self, database: Database, limits: PayloadLimits) -> None:
        self._database = database
        self._limits = limits
        #: What starts runs. Its notifications come when their routes have been woken.
        self.starting = OwnConnection(database)

    async def stop(self) -> None:
        """Closes the connection that starts have for themselves."""
        await self.starting.close()

    @property
    def system_id(self) -> str:
        """The database's identity: binds cursors to it."""
        return self._database.system_id

    # ------------------------------------------------------------------------------------------------ transitions

    async def start_runs(self, starts: Sequence[RunStart], read: Sequence[bool]) -> StartedBatch:
        """Starts runs in one transaction, each accepted or refused on its own.

        The same batch may be sent again when its outcome is unknown: its run ids tell what had been started.

        Args:
            starts: at least one.
            read: side by side with starts: True to get the run itself as well.

        Raises:
            LaneBusy: another transaction was in the way; nothing was started.
            BatchRefused: PostgreSQL refused a value; nothing was started.
            Unavailable: the database is away; the outcome is unknown.
        """
        # By far the most are new, and have the ids that came along: all of it in one round trip.
        new = [start.run_id for start, wants in zip(starts, read, strict=True) if wants]
        try:
            async with self.starting.use() as conn:
                # In autocommit a pipeline is one transaction; it commits at its end.
                async with conn.pipeline():
                    await pin_plans(conn, generic=True)
                    started = await self._start(conn, starts)
                    found = await self._read(conn, new) if new else None
                rows: list[Any] = await started.fetchall()
                runs = {} if found is None else await _runs_by_id(found)
                old = [row.run_id for row, wants in zip(rows, read, strict=True) if wants and row.run_id]
                old = [run_id for run_id in old if run_id not in runs]
                if old:
                    runs.update(await _runs_by_id(await self._read(conn, old)))
        except StepgresError as error:
            raise _judged(error) from error
        verdicts = [StartVerdict(row.run_id, row.verdict, row.detail, row.version, row.status) for row in rows]
        return StartedBatch(verdicts, rows[0].ready_routes or (), runs)

    async def define_plans(self, plans: Mapping[str, bytes]) -> None:
        """Stores inline plans, those that are not stored yet.

        Args:
            plans: definitions by slug.

        Raises:
            LaneBusy, BatchRefused, Unavailable: as start_runs; plans that are stored again are left alone.
        """
        try:
            async with self._database.transaction() as conn:
                register_columns(conn)
                # What is lost in a crash is found missing by the start, and the start's own commit brings it to the disk.
                await conn.execute(_SQL["commit_without_waiting"])
                slugs = TextColumn([slug.encode() for slug in plans])
                await conn.execute(_SQL["define_plans"], (slugs, TextColumn([*plans.values()])))
        except StepgresError as error:
            raise _judged(error) from error

    async def _start(self, conn: AsyncConnection[Any], starts: Sequence[RunStart]) -> AsyncCursor[Any]:
        register_columns(conn)
        cursor = conn.cursor(row_factory=namedtuple_row)
        return await cursor.execute(
            _SQL["start_runs"],
            (
                TextColumn([start.flow.encode() for start in starts]),
                IntColumn([start.version for start in starts]),
                TextColumn([start.input for start in starts]),
                TextColumn([start.scope.encode() for start in starts]),
                TextColumn([_encoded(start.idempotency_key) for start in starts]),
                ByteaColumn([start.input_hash for start in starts]),
                UuidColumn([start.run_id.bytes for start in starts]),
                TextColumn([_encoded(start.traceparent) for start in starts]),
                self._limits.max_items,
                self._limits.max_task_input_bytes,
            ),
        )

    @staticmethod
    async def _read(conn: AsyncConnection[Any], run_ids: list[UUID]) -> AsyncCursor[Any]:
        return await conn.cursor(row_factory=namedtuple_row).execute(_SQL["read_runs"], (run_ids,))

    async def cancel_run(self, run_id: UUID, reason: str) -> bool | None:
        """Ends a run. False when it had ended before, None when there is none."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["cancel_runs"], (run_id, reason))
            row = await cursor.fetchone()
        return None if row is None else bool(row[0])

    async def retry_run(self, run_id: UUID) -> RetryVerdict | None:
        """Lets a failed or cancelled run go on; None when there is none."""
        parameters = (run_id, self._limits.max_items, self._limits.max_task_input_bytes)
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["retry_runs"], parameters)
            row = await cursor.fetchone()
        return None if row is None else RetryVerdict(row[0], row[1] or [])

    # ------------------------------------------------------------------------------------------------ reads

    async def get_run(self, run_id: UUID, *, full: bool, step_outputs: bool = False) -> tuple[Run, int] | None:
        """Reads a run with its steps.

        Args:
            run_id: the run.
            full: with input and output, when they fit into MAX_RESPONSE_BYTES.
            step_outputs: with the outputs of all steps as well, when all of it fits.

        Returns:
            The run and the bytes of its input and output; None when there is none.
        """
        parameters = {
            "run_id": run_id,
            "full": full,
            "max_bytes": MAX_RESPONSE_BYTES,
            "max_step_bytes": MAX_RESPONSE_BYTES if step_outputs else 0,
        }
        rows = await self._fetch("get_run", parameters, generic=True)
        return (run_with_steps(rows), rows[0].run_bytes) if rows else None

    async def list_runs(self, runs: RunFilter, *, after: UUID | None, limit: int, full: bool) -> tuple[list[Run], bool]:
        """Reads a page of runs, newest first.

        Args:
            runs: which ones.
            after: last run of the page before; None for the first page.
            limit: most runs on the page.
            full: with payloads; such a page ends earlier when it becomes too large.

        Returns:
            The runs, and whether there are more.
        """
        workflow_id = version_id = None
        if runs.flow is not None:
            found = await self._find_versions(runs.flow, runs.version)
            if found is None:
                return [], False
            workflow_id, version_id = found
        parameters = {
            "workflow_id": workflow_id,
            "version_id": version_id,
            "status": runs.status.value if runs.status else None,
            "start_min": runs.start_min,
            "start_max": runs.start_max,
            "after": after,
            "limit": min(limit, FULL_PAGE_SIZE) if full else limit,
            "full": full,
            "max_bytes": MAX_RESPONSE_BYTES,
        }
        rows = await self._fetch("list_runs", parameters)
        return [run_of(row) for row in rows], bool(rows) and rows[0].page_count > len(rows)

    async def _find_versions(self, flow: str, version: int) -> tuple[int, int | None] | None:
        """The numbers of a flow and its version (None for version 0); None when there is none."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["find_versions"], (version, flow))
            row = await cursor.fetchone()
        return None if row is None or (version and row[1] is None) else (row[0], row[1])

    async def changed_runs(self, known: Iterable[tuple[UUID, int]]) -> tuple[list[ChangedRun], list[UUID]]:
        """Reads what changed in watched runs, in one statement.

        Args:
            known: runs, each with the revision that is known.

        Returns:
            The runs with a newer revision, and those that are gone with their flow.
        """
        async with self._database.connection() as conn:
            async with conn.pipeline():
                cursor = await ask_for_changes(conn, known)
            return read_changes(await cursor.fetchall())

    async def _fetch(self, query: str, parameters: dict[str, Any], *, generic: bool = False) -> list[Any]:
        async with self._database.connection() as conn:
            return await fetch_pinned(conn, _SQL[query], parameters, generic=generic)


def _judged(error: StepgresError) -> StepgresError:
    """By the database's own error, where there is one: it tells whether the same batch is worth another try."""
    return judge(error.__cause__) if isinstance(error.__cause__, psycopg.Error) else error


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


async def _runs_by_id(cursor: AsyncCursor[Any]) -> dict[UUID, Run]:
    return {row.run_id: run_of(row) for row in await cursor.fetchall()}
