"""What changed in watched runs: asked for in a transaction of its own, or in the one that changes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from stepgres_service.model import RunError, RunStatus, StepStatus, TaskCounts
from stepgres_service.store.pinned_reads import ask_pinned
from stepgres_service.store.queries import load_queries
from stepgres_service.store.run_rows import counts_of, error_of

_SQL = load_queries("runs")


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step of a watched run after a change; what never changes is left out."""

    step_index: int
    status: StepStatus
    counts: TaskCounts
    remaining_deps: int
    revision: int
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ChangedRun:
    """A watched run after a change."""

    run_id: UUID
    status: RunStatus
    revision: int
    remaining_steps: int
    completed_at: datetime | None
    error: RunError | None
    steps: tuple[StepChange, ...]


async def ask_for_changes(conn: AsyncConnection[Any], known: Iterable[tuple[UUID, int]]) -> AsyncCursor[Any]:
    """Sends the question, without waiting for its answer.

    Args:
        conn: in autocommit and in a pipeline.
        known: runs, each with the revision that is known; at least one.
    """
    run_ids, revisions = zip(*known, strict=True)
    parameters = {"run_ids": list(run_ids), "revisions": list(revisions)}
    return await ask_pinned(conn, _SQL["changed_runs"], parameters, generic=True)


def read_changes(rows: Sequence[Any]) -> tuple[list[ChangedRun], list[UUID]]:
    """The runs with another revision, and those that are gone with their flow, from the rows of the answer."""
    by_run: dict[UUID, list[Any]] = {}
    gone = []
    for row in rows:
        if row.run_id is None:
            gone.append(row.watched_run_id)
        else:
            by_run.setdefault(row.run_id, []).append(row)
    return [_changed_run(group) for group in by_run.values()], gone


def _changed_run(rows: Sequence[Any]) -> ChangedRun:
    run = rows[0]
    return ChangedRun(
        run_id=run.run_id,
        status=RunStatus(run.status),
        revision=run.revision,
        remaining_steps=run.remaining_steps,
        completed_at=run.completed_at,
        error=error_of(run),
        steps=tuple(
            StepChange(
                step_index=row.step_index,
                status=StepStatus(row.step_status),
                counts=counts_of(row),
                remaining_deps=row.remaining_deps,
                revision=row.step_revision,
                started_at=row.step_started_at,
                completed_at=row.step_completed_at,
            )
            for row in rows
            if row.step_index is not None
        ),
    )
