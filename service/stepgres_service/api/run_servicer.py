"""RunService: starts, reads, watches and ends runs. Every decision is the engine's."""

# ruff: noqa: N802  the methods are named by the contract
from __future__ import annotations

from contextlib import aclosing
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import grpc

from stepgres.v1 import run_pb2, run_pb2_grpc
from stepgres_service.api.check_runs import (
    batch_size,
    cancel_request,
    run_filter,
    start_request,
    task_status,
    traceparent_of,
)
from stepgres_service.api.convert_catalogue import queues_to, workers_to
from stepgres_service.api.convert_flows import FlowLimits
from stepgres_service.api.convert_runs import frame_to, run_to, task_to
from stepgres_service.api.fields import Fields
from stepgres_service.api.paging import PageTokens
from stepgres_service.api.payloads import JsonChecker
from stepgres_service.api.status import item_error
from stepgres_service.engine.catalogue import Catalogue
from stepgres_service.engine.plans import PlanChecker
from stepgres_service.engine.run_starts import Started
from stepgres_service.engine.runs import RunRequest, Runs
from stepgres_service.engine.watch import WatchHub
from stepgres_service.engine.watched import WatchFrame
from stepgres_service.errors import StepgresError

_MAX_BATCH = 1000  # requests of StartRuns

_Context = grpc.aio.ServicerContext[Any, Any]


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Serves RunService.

    Args:
        runs: use cases.
        hub: watches.
        catalogue: what is served now.
        payloads: judges inputs.
        plans: judges inline plans.
        tokens: makes and reads page tokens.
        max_input_bytes: largest run input.
        limits: how large a plan may be.
    """

    def __init__(
        self,
        runs: Runs,
        hub: WatchHub,
        catalogue: Catalogue,
        payloads: JsonChecker,
        plans: PlanChecker,
        tokens: PageTokens,
        *,
        max_input_bytes: int,
        limits: FlowLimits,
    ) -> None:
        self._runs = runs
        self._hub = hub
        self._catalogue = catalogue
        self._payloads = payloads
        self._plans = plans
        self._tokens = tokens
        self._max_input_bytes = max_input_bytes
        self._limits = limits
        # Readers at the same revision share a frame: it is converted once for all of them.
        self._frames: WeakKeyDictionary[WatchFrame, run_pb2.WatchRunResponse] = WeakKeyDictionary()

    async def StartRun(self, request: run_pb2.StartRunRequest, context: _Context) -> run_pb2.StartRunResponse:
        """Starts a run."""
        checked = await self._start_request(request, traceparent_of(context.invocation_metadata()))
        run, created = await self._runs.start_run(checked)
        return run_pb2.StartRunResponse(run=run_to(run), created=created)

    async def StartRuns(self, request: run_pb2.StartRunsRequest, context: _Context) -> run_pb2.StartRunsResponse:
        """Starts many runs, each accepted or refused on its own."""
        batch_size(request, _MAX_BATCH)
        traceparent = traceparent_of(context.invocation_metadata())
        checked = [await self._item_request(item, traceparent) for item in request.requests]
        started = iter(await self._runs.start_runs([item for item in checked if isinstance(item, RunRequest)]))
        outcomes = [next(started) if isinstance(item, RunRequest) else item for item in checked]
        return run_pb2.StartRunsResponse(results=[_start_result_to(outcome) for outcome in outcomes])

    async def GetRun(self, request: run_pb2.GetRunRequest, context: _Context) -> run_pb2.GetRunResponse:
        """Reads a run."""
        fields = Fields()
        run_id = fields.run_id(request.run_id)
        full = fields.full(request.view, default=True)
        fields.refuse()
        return run_pb2.GetRunResponse(run=run_to(await self._runs.get_run(run_id, full=full)))

    async def ListRuns(self, request: run_pb2.ListRunsRequest, context: _Context) -> run_pb2.ListRunsResponse:
        """Lists runs, newest first."""
        fields = Fields()
        runs = run_filter(request, fields)
        limit = fields.page_size(request.page_size)
        full = fields.full(request.view, default=False)
        fields.refuse()
        after = self._tokens.read(request)
        page, more = await self._runs.list_runs(runs, after=UUID(after[0]) if after else None, limit=limit, full=full)
        token = self._tokens.make(request, str(page[-1].run_id)) if more else ""
        return run_pb2.ListRunsResponse(runs=[run_to(run) for run in page], next_page_token=token)

    async def ListTasks(self, request: run_pb2.ListTasksRequest, context: _Context) -> run_pb2.ListTasksResponse:
        """Lists the tasks of a run or of a step."""
        fields = Fields()
        run_id = fields.run_id(request.run_id)
        step = fields.slug("step", request.step, required=False)
        status = task_status(request, fields)
        limit = fields.page_size(request.page_size)
        full = fields.full(request.view, default=False)
        fields.refuse()
        after = self._tokens.read(request)
        page, more = await self._runs.list_tasks(
            run_id,
            step,
            status=status,
            after=(int(after[0]), int(after[1])) if after else (-1, -1),
            limit=limit,
            full=full,
        )
        token = self._tokens.make(request, str(page[-1].step_index), str(page[-1].task_index)) if more else ""
        return run_pb2.ListTasksResponse(tasks=[task_to(task) for task in page], next_page_token=token)

    async def GetTask(self, request: run_pb2.GetTaskRequest, context: _Context) -> run_pb2.GetTaskResponse:
        """Reads a task with its payloads and attempts."""
        fields = Fields()
        run_id = fields.run_id(request.run_id)
        step = fields.slug("step", request.step, required=True)
        task_index = fields.not_negative("task_index", request.task_index)
        fields.refuse()
        return run_pb2.GetTaskResponse(task=task_to(await self._runs.get_task(run_id, step, task_index)))

    async def WatchRun(  # type: ignore[override]  # the stubs know only handlers that yield
        self, request: run_pb2.WatchRunRequest, context: _Context
    ) -> None:
        """Follows a run to its end."""
        fields = Fields()
        run_id = fields.run_id(request.run_id)
        full = fields.full(request.view, default=False)
        fields.refuse()
        # Written, not yielded: a reader that goes away then ends this coroutine, and the watch with it, at once.
        async with aclosing(self._hub.watch(run_id, request.cursor, full=full)) as frames:
            async for frame in frames:
                await context.write(self._frame_to(frame))

    async def CancelRun(self, request: run_pb2.CancelRunRequest, context: _Context) -> run_pb2.CancelRunResponse:
        """Ends a run."""
        run, cancelled = await self._runs.cancel_run(*cancel_request(request))
        return run_pb2.CancelRunResponse(run=run_to(run), cancelled=cancelled)

    async def RetryRun(self, request: run_pb2.RetryRunRequest, context: _Context) -> run_pb2.RetryRunResponse:
        """Lets a run go on that failed or was cancelled."""
        fields = Fields()
        run_id = fields.run_id(request.run_id)
        fields.refuse()
        run, retried = await self._runs.retry_run(run_id)
        return run_pb2.RetryRunResponse(run=run_to(run), retried=retried)

    async def ListWorkers(self, request: run_pb2.ListWorkersRequest, context: _Context) -> run_pb2.ListWorkersResponse:
        """Lists the sessions of workers."""
        fields = Fields()
        limit = fields.page_size(request.page_size)
        fields.refuse()
        after = self._tokens.read(request) or ("", "")
        workers, more = await self._catalogue.list_workers((after[0], after[1]), limit)
        page = workers_to(workers)
        last = workers[len(page) - 1] if more or len(page) < len(workers) else None
        token = self._tokens.make(request, last.worker, last.position) if last else ""
        return run_pb2.ListWorkersResponse(workers=page, next_page_token=token)

    async def ListQueues(self, request: run_pb2.ListQueuesRequest, context: _Context) -> run_pb2.ListQueuesResponse:
        """Lists the queues with what nobody serves."""
        fields = Fields()
        limit = fields.page_size(request.page_size)
        fields.refuse()
        after = self._tokens.read(request) or ("", "0")
        queues, more = await self._catalogue.list_queues((after[0], int(after[1])), limit)
        page = queues_to(queues)
        last = queues[len(page) - 1] if more or len(page) < len(queues) else None
        token = self._tokens.make(request, last.name, str(last.queue_id)) if last else ""
        return run_pb2.ListQueuesResponse(queues=page, next_page_token=token)

    # ------------------------------------------------------------------------------------------------ parts

    async def _start_request(self, request: run_pb2.StartRunRequest, traceparent: str | None) -> RunRequest:
        return await start_request(
            request,
            self._payloads,
            self._plans,
            max_input_bytes=self._max_input_bytes,
            limits=self._limits,
            traceparent=traceparent,
        )

    async def _item_request(
        self, request: run_pb2.StartRunRequest, traceparent: str | None
    ) -> RunRequest | StepgresError:
        try:
            return await self._start_request(request, traceparent)
        except StepgresError as error:
            return error

    def _frame_to(self, frame: WatchFrame) -> run_pb2.WatchRunResponse:
        message = self._frames.get(frame)
        if message is None:
            message = self._frames[frame] = frame_to(frame)
        return message


def _start_result_to(outcome: Started | StepgresError) -> run_pb2.StartRunResult:
    if isinstance(outcome, StepgresError):
        return run_pb2.StartRunResult(error=item_error(outcome))
    return run_pb2.StartRunResult(run_id=str(outcome.run_id), created=outcome.created)
