"""Use cases of runs: start, look at, cancel, retry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from stepgres_service.engine.checks import closest_step
from stepgres_service.engine.near_names import NearFlows
from stepgres_service.engine.run_log import log_end, log_retry
from stepgres_service.engine.run_refusals import (
    payloads_too_large,
    run_completed,
    run_not_found,
    step_not_found,
)
from stepgres_service.engine.run_starts import RunStarts, Started
from stepgres_service.errors import NotFound, Reason, StepgresError
from stepgres_service.model import Run, Task, TaskStatus
from stepgres_service.store.runs import MAX_RESPONSE_BYTES, RunFilter, RunStart, RunStore
from stepgres_service.store.task_reads import TaskReads


class Touch(Protocol):
    """Tells the watches of this coordinator that runs have changed."""

    def __call__(self, run_ids: Iterable[bytes], *, ended: bool = False) -> None:
        """16-byte ids; `ended` when the runs are known to be terminal."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as its caller asks for it."""

    #: Slug of the flow, or of the plan.
    flow: str
    #: JSON, checked.
    input: bytes
    #: Version; 0 means the latest.
    version: int = 0
    #: None: not idempotent.
    idempotency_key: str | None = None
    #: Empty: the common one.
    scope: str = ""
    #: W3C trace context.
    traceparent: str | None = None
    #: Definition of an inline plan; None for a flow.
    plan: bytes | None = None


class Runs:
    """Starts, reads, cancels and retries runs.

    Args:
        store: calls and reads runs.
        tasks: reads tasks.
        near_flows: tells which flow was meant.
        wake: called with routes that have new messages.
        look_around: called when messages may have been sent whose routes are not known.
        runs_ended: called with runs whose leased tasks should be stopped.
        touch: called with runs that changed, for their watches.
    """

    def __init__(
        self,
        store: RunStore,
        tasks: TaskReads,
        near_flows: NearFlows,
        wake: Callable[[Sequence[int]], None],
        look_around: Callable[[], None],
        runs_ended: Callable[[Sequence[UUID]], None],
        touch: Touch,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._near_flows = near_flows
        self._starts = RunStarts(store, wake, look_around)
        self._wake = wake
        self._runs_ended = runs_ended
        self._touch = touch

    async def stop(self, flush_s: float) -> None:
        """Waits until everything that was asked for is started, at most flush_s seconds."""
        await self._starts.stop(flush_s)
        await self._store.stop()

    async def start_run(self, request: RunRequest) -> tuple[Run, bool]:
        """Starts a run.

        Returns:
            The run without steps and payloads, and whether this call has created it.

        Raises:
            NotFound: unknown flow or version.
            AlreadyExists: the idempotency key was used for something else.
            InvalidArgument: the input does not fit a map over it.
            Unavailable: the database is away.
        """
        outcome = (await self._starts.start([_start_of(request)], read=True))[0]
        if isinstance(outcome, StepgresError):
            raise (await self._near_flows.hinted([(request.flow, outcome)]))[0]
        if outcome.run is None:
            # Its flow was deleted between the two statements.
            raise run_not_found(outcome.run_id)
        return outcome.run, outcome.created

    async def start_runs(self, requests: Sequence[RunRequest]) -> list[Started | StepgresError]:
        """Starts many runs, each accepted or refused on its own; see RunStarts.start.

        Raises:
            StepgresError: a fault of ours, of whatever item: its text is not for the callers.
        """
        outcomes = (
            await self._starts.start([_start_of(request) for request in requests], read=False) if requests else []
        )
        for outcome in outcomes:
            if isinstance(outcome, StepgresError) and outcome.reason is Reason.INTERNAL:
                raise outcome
        refused = [(i, outcome) for i, outcome in enumerate(outcomes) if isinstance(outcome, StepgresError)]
        hinted = await self._near_flows.hinted([(requests[i].flow, outcome) for i, outcome in refused])
        for (i, _), error in zip(refused, hinted, strict=True):
            outcomes[i] = error
        return outcomes

    async def get_run(self, run_id: UUID, *, full: bool) -> Run:
        """Reads a run with its steps.

        Args:
            run_id: the run.
            full: with input, output and the outputs of its steps; the latter are left out when they do not fit into
                a response with the others.

        Raises:
            NotFound: there is none.
            InvalidArgument: input and output do not fit into a response.
        """
        found = await self._store.get_run(run_id, full=full, step_outputs=full)
        if found is None:
            raise run_not_found(run_id)
        run, size = found
        if full and size > MAX_RESPONSE_BYTES:
            raise payloads_too_large(size)
        return run

    async def list_runs(self, runs: RunFilter, *, after: UUID | None, limit: int, full: bool) -> tuple[list[Run], bool]:
        """Reads a page of runs, newest first; see RunStore.list_runs."""
        return await self._store.list_runs(runs, after=after, limit=limit, full=full)

    async def list_tasks(
        self,
        run_id: UUID,
        step: str,
        *,
        status: TaskStatus | None,
        after: tuple[int, int],
        limit: int,
        full: bool,
    ) -> tuple[list[Task], bool]:
        """Reads a page of tasks of a run, or of one of its steps (empty: of all); see TaskReads.list_tasks.

        Raises:
            NotFound: there is no such run, or it has no such step.
        """
        step_index = await self._find_step(run_id, step)
        return await self._tasks.list_tasks(
            run_id, step_index=step_index, status=status, after=after, limit=limit, full=full
        )

    async def get_task(self, run_id: UUID, step: str, task_index: int) -> Task:
        """Reads a task with payloads and attempts.

        Raises:
            NotFound: there is no such run, step or task.
        """
        step_index = await self._find_step(run_id, step)
        assert step_index is not None, "a task is asked for with its step"
        task = await self._tasks.get_task(run_id, step_index, task_index)
        if task is None:
            raise NotFound(
                f'task_index: step "{step}" has no task {task_index} now; a step gets its tasks when its dependencies '
                "are done, list them with ListTasks",
                reason=Reason.TASK_NOT_FOUND,
                field="task_index",
            )
        return task

    async def cancel_run(self, run_id: UUID, reason: str) -> tuple[Run, bool]:
        """Ends a run; one that has ended stays as it is.

        Returns:
            The run with its steps, and whether this call has ended it.

        Raises:
            NotFound: there is none.
        """
        cancelled = await self._store.cancel_run(run_id, reason)
        if cancelled:
            self._runs_ended([run_id])
            self._touch([run_id.bytes], ended=True)
        run = None if cancelled is None else await self._store.get_run(run_id, full=False)
        if cancelled is None or run is None:
            raise run_not_found(run_id)
        if cancelled and run[0].completed_at is not None:
            ended = run[0].completed_at - run[0].started_at
            log_end(str(run_id), run[0].flow, run[0].status, ended.total_seconds())
        return run[0], cancelled

    async def retry_run(self, run_id: UUID) -> tuple[Run, bool]:
        """Lets a failed or cancelled run go on; a started one stays as it is.

        Returns:
            The run with its steps, and whether this call has retried it.

        Raises:
            NotFound: there is none, or its flow is deleted.
            FailedPrecondition: it has completed.
        """
        answer = await self._store.retry_run(run_id)
        if answer is not None and answer.verdict == "completed":
            raise run_completed(run_id)
        if answer is not None and answer.verdict == "retried":
            self._wake(answer.ready_routes)
            self._touch([run_id.bytes])
        run = None if answer is None else await self._store.get_run(run_id, full=False)
        if answer is None or run is None:
            raise run_not_found(run_id)
        if answer.verdict == "retried":
            log_retry(str(run_id), run[0].flow)
        return run[0], answer.verdict == "retried"

    async def _find_step(self, run_id: UUID, step: str) -> int | None:
        exists, step_index = await self._tasks.find_step(run_id, step)
        if not exists:
            raise run_not_found(run_id)
        if step and step_index is None:
            raise step_not_found(run_id, step, closest_step(await self._tasks.step_slugs(run_id))(step))
        return step_index


def _start_of(request: RunRequest) -> RunStart:
    key = request.idempotency_key
    return RunStart(
        run_id=uuid7(),
        flow=request.flow,
        version=request.version,
        input=request.input,
        scope=request.scope,
        idempotency_key=key,
        input_hash=None if key is None else hashlib.sha256(request.input).digest(),
        traceparent=request.traceparent,
        plan=request.plan,
    )
