"""Runs, steps and tasks of the model -> messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2, run_pb2
from stepgres_service.engine.watched import FrameKind, WatchFrame
from stepgres_service.model import (
    Run,
    RunStatus,
    StepState,
    StepStatus,
    StepType,
    Task,
    TaskAttempt,
    TaskCounts,
    TaskStatus,
)

STEP_TYPES = {
    StepType.SINGLE: common_pb2.STEP_TYPE_SINGLE,
    StepType.MAP: common_pb2.STEP_TYPE_MAP,
}
RUN_STATUSES = {status: common_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}") for status in RunStatus}
STEP_STATUSES = {status: common_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}") for status in StepStatus}
TASK_STATUSES = {status: common_pb2.TaskStatus.Value(f"TASK_STATUS_{status.name}") for status in TaskStatus}


def run_to(run: Run) -> run_pb2.Run:
    """A run, with what it carries of steps and payloads."""
    message = run_pb2.Run(
        run_id=str(run.run_id),
        flow=run.flow,
        version=run.version,
        status=RUN_STATUSES[run.status],
        scope=run.scope,
        idempotency_key=run.idempotency_key or "",
        revision=run.revision,
        steps=[step_state_to(step) for step in run.steps],
        input=_payload(run.input),
        output=_payload(run.output),
        start_time=_time(run.started_at),
        end_time=_time(run.completed_at),
        step_count=run.step_count,
        remaining_steps=run.remaining_steps,
    )
    if run.error is not None:
        error = run.error
        message.error.CopyFrom(
            run_pb2.RunError(
                step=error.step,
                task_index=error.task_index,
                code=error.code,
                message=error.message,
                attempt=error.attempt,
            )
        )
    return message


def step_state_to(step: StepState) -> run_pb2.StepState:
    """A step inside a run."""
    return run_pb2.StepState(
        step=step.step,
        step_index=step.step_index,
        step_type=STEP_TYPES[step.step_type],
        status=STEP_STATUSES[step.status],
        counts=_counts_to(step.counts),
        remaining_deps=step.remaining_deps,
        start_time=_time(step.started_at),
        end_time=_time(step.completed_at),
        output=_payload(step.output),
        revision=step.revision,
        depends_on=step.depends_on,
        unserved=step.unserved,
    )


def _counts_to(counts: TaskCounts) -> run_pb2.TaskCounts:
    return run_pb2.TaskCounts(
        total=counts.total,
        open=counts.open,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
    )


def task_to(task: Task) -> run_pb2.Task:
    """A task, with what it carries of payloads and attempts."""
    return run_pb2.Task(
        run_id=str(task.run_id),
        step=task.step,
        step_index=task.step_index,
        task_index=task.task_index,
        status=TASK_STATUSES[task.status],
        attempt=task.attempt,
        lost_leases=task.lost_leases,
        worker=task.worker,
        create_time=_time(task.queued_at),
        start_time=_time(task.started_at),
        end_time=_time(task.completed_at),
        available_time=_time(task.available_at),
        progress=task.progress,
        progress_message=task.progress_message,
        input=_payload(task.input),
        output=_payload(task.output),
        attempts=_attempts_to(task.attempts),
    )


def _attempts_to(attempts: Sequence[TaskAttempt]) -> list[run_pb2.TaskAttempt]:
    return [
        run_pb2.TaskAttempt(
            attempt=attempt.attempt,
            code=attempt.code,
            message=attempt.message,
            details=attempt.details,
            worker=attempt.worker,
            start_time=_time(attempt.started_at),
            end_time=_time(attempt.ended_at),
        )
        for attempt in attempts
    ]


def frame_to(frame: WatchFrame) -> run_pb2.WatchRunResponse:
    """A frame of a watch."""
    if frame.kind is FrameKind.SNAPSHOT:
        return run_pb2.WatchRunResponse(snapshot=run_to(frame.run), cursor=frame.cursor)
    if frame.kind is FrameKind.END:
        return run_pb2.WatchRunResponse(end=run_to(frame.run), cursor=frame.cursor)
    change = run_pb2.RunChange(
        status=RUN_STATUSES[frame.run.status],
        revision=frame.run.revision,
        steps=[step_state_to(step) for step in frame.changed],
    )
    return run_pb2.WatchRunResponse(change=change, cursor=frame.cursor)


def _payload(text: str | None) -> bytes:
    return b"" if text is None else text.encode()


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
