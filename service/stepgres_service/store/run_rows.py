"""Rows of the run queries -> values of the model. Rows are named tuples whose fields are named in runs.sql."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgres_service.model import (
    Run,
    RunError,
    RunStatus,
    StepState,
    StepStatus,
    StepType,
    Task,
    TaskAttempt,
    TaskCounts,
    TaskStatus,
)

_OPEN = (StepStatus.CREATED, StepStatus.STARTED)


def run_of(row: Any, steps: tuple[StepState, ...] = ()) -> Run:
    """A run from a row of read_runs, list_runs or get_run."""
    return Run(
        run_id=row.run_id,
        flow=row.workflow_slug,
        version=row.version,
        status=RunStatus(row.status),
        revision=row.revision,
        step_count=row.step_count,
        remaining_steps=row.remaining_steps,
        started_at=row.started_at,
        completed_at=row.completed_at,
        scope=row.scope,
        idempotency_key=row.idempotency_key,
        error=error_of(row),
        steps=steps,
        input=row.input,
        output=row.output,
    )


def error_of(row: Any) -> RunError | None:
    """Why the run failed; for a cancelled run only when a reason was given."""
    if row.error_code is None or (row.status == RunStatus.CANCELLED and not row.error_message):
        return None
    return RunError(
        step=row.error_step or "",
        task_index=row.error_task_index or 0,
        code=row.error_code,
        message=row.error_message or "",
        attempt=row.error_attempt or 0,
    )


def run_with_steps(rows: Sequence[Any]) -> Run:
    """A run from the rows of get_run, at least one."""
    steps = tuple(
        StepState(
            step=row.step_slug,
            step_index=row.step_index,
            step_type=StepType.MAP if row.is_map else StepType.SINGLE,
            status=StepStatus(row.step_status),
            counts=counts_of(row),
            remaining_deps=row.remaining_deps,
            revision=row.step_revision,
            started_at=row.step_started_at,
            completed_at=row.step_completed_at,
            depends_on=tuple(row.depends_on),
            output=row.step_output,
            unserved=row.unserved,
        )
        for row in rows
        if row.step_index is not None
    )
    return run_of(rows[0], steps)


def counts_of(row: Any) -> TaskCounts:
    """Counts of a step: what is neither completed nor failed is open while the step is, and cancelled after."""
    total = row.initial_tasks
    if total is None:
        return TaskCounts(total=None, open=0, completed=0, failed=row.failed_tasks, cancelled=0)
    completed = total - row.remaining_tasks
    rest = max(0, total - completed - row.failed_tasks)
    is_open = row.step_status in _OPEN
    return TaskCounts(
        total=total,
        open=rest if is_open else 0,
        completed=completed,
        failed=row.failed_tasks,
        cancelled=0 if is_open else rest,
    )


def task_of(row: Any, attempts: tuple[TaskAttempt, ...] = ()) -> Task:
    """A task from a row of list_tasks."""
    return Task(
        run_id=row.run_id,
        step=row.step_slug,
        step_index=row.step_index,
        task_index=row.task_index,
        status=TaskStatus(row.status),
        attempt=row.attempt,
        lost_leases=row.lost_leases,
        worker=row.worker,
        queued_at=row.queued_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        available_at=row.available_at,
        progress=row.progress,
        progress_message=row.progress_message,
        input=row.input,
        output=row.output,
        attempts=attempts,
    )


def attempt_of(row: Any) -> TaskAttempt:
    """A try from a row of list_attempts."""
    return TaskAttempt(
        attempt=row.attempt,
        code=row.code,
        message=row.message,
        details=row.details,
        worker=row.worker,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
