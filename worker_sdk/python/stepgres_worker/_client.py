"""The asynchronous client; `Client` is the same, blocking."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Literal

from stepgres.v1 import flow_pb2, run_pb2

from . import _convert, _rpc
from ._clock import full_jitter_s
from ._errors import DeadlineExceeded, RequestError, ResourceExhausted, Unavailable
from ._flow import Step
from ._models import Page, RunSpec
from ._plans import plan_request, readable, start_request, validation
from ._run import AsyncRun
from ._transport import MAX_MESSAGE_BYTES, GrpcTransport

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from ._flow import Flow
    from ._models import (
        FlowInfo,
        HandlerInfo,
        QueueInfo,
        RunSnapshot,
        RunStatus,
        StartResult,
        StepInfo,
        TaskSnapshot,
        TaskStatus,
        WorkerInfo,
    )
    from ._plans import Validation
    from ._rpc import Req, Res, Rpc
    from ._transport import Transport

#: Longest wait between two tries of one call.
_RETRY_CAP_S = 2.0
_RUNS_PER_CALL = 1_000


class AsyncClient:
    """Defines flows; starts, reads, watches, cancels and retries runs. The connection opens at first use.

    Calls that may be repeated are: after UNAVAILABLE and DEADLINE_EXCEEDED, with backoff, until their own deadline.

    Args:
        target: host:port or a gRPC target (`dns:///name:port`); None = STEPGRES_TARGET, else 127.0.0.1:50051.
        timeout_s: deadline of each call, retries included; watching and waiting for results have none.
        transport: for tests, such as `testing.FakeTransport`; None = gRPC to `target`.
    """

    def __init__(
        self, target: str | None = None, *, timeout_s: float = 30.0, transport: Transport | None = None
    ) -> None:
        self.timeout_s = timeout_s
        self._transport: Transport = GrpcTransport(target) if transport is None else transport

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; a later call opens a new one."""
        await self._transport.close()

    # ------------------------------------------------------------------------------------------- definitions

    async def create_flow(
        self,
        slug: str,
        steps: Iterable[Step] = (),
        *,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
        queue: str = "",
        new_version: bool = False,
    ) -> FlowInfo:
        """Creates a flow with all its steps, or without any; the same again changes nothing.

        Args:
            slug: `^[a-zA-Z_][a-zA-Z0-9_]*$`, 1-128 characters, not `run`.
            steps: in any order; none = `add_step` follows.
            max_attempts: default of the steps, 1-1000; None = 3.
            timeout_s: default of the steps in seconds, 1-2592000; None = 30.
            base_delay_s: default of the steps in seconds, 0-86400; None = the server's, 1. After failure n a task waits
                half to all of min(base_delay_s * 2^(n-1), max_delay_s).
            max_delay_s: default of the steps in seconds, 0-604800; None = the server's, 300.
            queue: name of a shared queue; empty = one of its own.
            new_version: make a new version where the flow exists with another shape.

        Returns:
            The version that equals the request; `.created` is False when it existed.

        Raises:
            InvalidArgument: with every violation at once.
            AlreadyExists: the flow has another shape, with the differences.
        """
        request = flow_pb2.CreateFlowRequest(
            slug=slug,
            steps=_convert.step_definitions(steps),
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            base_delay_s=base_delay_s,
            max_delay_s=max_delay_s,
            queue=queue,
            new_version=new_version,
        )
        response = await self.call(_rpc.CREATE_FLOW, request)
        return _convert.flow_info(response.flow, created=response.created)

    async def register(self, flow: Flow) -> FlowInfo:
        """`create_flow` for a flow in code."""
        response = await self.call(_rpc.CREATE_FLOW, _convert.create_request(flow))
        return _convert.flow_info(response.flow, created=response.created)

    async def validate_flow(self, plan: Mapping[str, Any] | Iterable[Step], *, inline: bool = False) -> Validation:
        """Says everything that is wrong with a plan, and doubtful, each with its remedy and its fix; stores nothing.

        Args:
            plan: a flow as a document, as in a flow file: `{"slug": …, "steps": [{"slug": …, "depends_on": […]}, …]}`;
                or a list of steps.
            inline: judge it as `start_run` and `execute` do when it comes along as their plan: without a slug, its
                steps' handlers by default their slugs.

        Faults of form, such as a key that plans do not have or a text where a number belongs, are violations like the
        others. What cannot be read is left out of what is judged.

        Raises:
            TypeError: neither a document nor steps.
        """
        flow, reader = readable(plan)
        request = flow_pb2.ValidateFlowRequest(flow=flow, inline=inline)
        return validation(await self.call(_rpc.VALIDATE_FLOW, request), reader)

    async def apply_flow(self, plan: Mapping[str, Any], *, new_version: bool = True) -> FlowInfo:
        """Makes a flow as a plan says: created when new, left alone when it has this shape.

        Args:
            plan: a flow as a document, as in a flow file.
            new_version: make a new version where the flow has another shape; False makes that an error.

        Raises:
            ValueError: it is no plan at all: a field is unknown or of the wrong type.
            InvalidArgument: with every violation at once.
            AlreadyExists: the flow has another shape, and `new_version` is False.
        """
        request = plan_request(plan)
        request.new_version = new_version
        response = await self.call(_rpc.CREATE_FLOW, request)
        return _convert.flow_info(response.flow, created=response.created)

    async def add_step(
        self,
        flow: str,
        slug: str,
        *,
        depends_on: Iterable[str] = (),
        step_type: Literal["single", "map"] = "single",
        initial_tasks: int | None = None,
        handler: str = "",
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
        queue: str = "",
    ) -> StepInfo:
        """Appends a step to the latest version of a flow; the same again changes nothing. Running runs do not see it.

        Args:
            flow: slug of the flow.
            slug: name of the step; see `Step` for this and the other arguments.
            depends_on: slugs of steps that exist.
            step_type: `single` or `map`.
            initial_tasks: maps only: the promised number of items; None = any.
            handler: name of the handler; empty = `<flow>.<step>`.
            params: constant JSON object for the handler; None = {}.
            max_attempts: 1-1000; None = the flow's.
            timeout_s: seconds an attempt may take; None = the flow's.
            base_delay_s: most seconds before the first retry; None = the flow's.
            max_delay_s: longest delay between retries in seconds; None = the flow's.
            queue: name of a shared queue; empty = the flow's.

        Raises:
            InvalidArgument: with every violation.
            NotFound: there is no such flow.
            AlreadyExists: the step has another shape, with the differences.
        """
        step = Step(
            slug,
            depends_on,
            step_type,
            initial_tasks=initial_tasks,
            handler=handler,
            params=params,
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            base_delay_s=base_delay_s,
            max_delay_s=max_delay_s,
            queue=queue,
        )
        request = flow_pb2.AddStepRequest(flow=flow, step=_convert.step_definition(step))
        return _convert.step_info((await self.call(_rpc.ADD_STEP, request)).step)

    async def get_flow(self, flow: str, *, version: int = 0) -> FlowInfo:
        """Reads a flow with its steps; version 0 is the latest. Raises NotFound."""
        response = await self.call(_rpc.GET_FLOW, flow_pb2.GetFlowRequest(flow=flow, version=version))
        return _convert.flow_info(response.flow, versions=response.versions)

    async def list_flows(
        self, *, slug_prefix: str = "", page_size: int = 0, page_token: str = "", full: bool = False
    ) -> Page[FlowInfo]:
        """Lists flows by slug, each in its latest version.

        Args:
            slug_prefix: only flows whose slug begins so.
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before.
            full: with steps.
        """
        response = await self.call(
            _rpc.LIST_FLOWS,
            flow_pb2.ListFlowsRequest(
                slug_prefix=slug_prefix, page_size=page_size, page_token=page_token, view=_convert.view_number(full)
            ),
        )
        return Page(tuple(_convert.flow_info(flow) for flow in response.flows), response.next_page_token)

    async def delete_flow(self, flow: str, *, force: bool = False) -> int:
        """Deletes a flow with all its versions and runs.

        Args:
            flow: slug of the flow.
            force: cancel its active runs first; False refuses while there are any.

        Returns:
            How many active runs were cancelled.

        Raises:
            NotFound: there is no such flow.
            FailedPrecondition: it has active runs.
        """
        response = await self.call(_rpc.DELETE_FLOW, flow_pb2.DeleteFlowRequest(flow=flow, force=force))
        return response.cancelled_run_count

    # ------------------------------------------------------------------------------------------ what is served

    async def list_handlers(
        self, *, name_prefix: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[HandlerInfo]:
        """Lists the handlers that workers serve now, by name and scope: the catalogue. It may be a second old.

        Args:
            name_prefix: only handlers whose name begins so.
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before, with the same prefix.
        """
        request = flow_pb2.ListHandlersRequest(name_prefix=name_prefix, page_size=page_size, page_token=page_token)
        response = await self.call(_rpc.LIST_HANDLERS, request)
        return Page(tuple(_convert.handler_info(handler) for handler in response.handlers), response.next_page_token)

    async def list_workers(self, *, page_size: int = 0, page_token: str = "") -> Page[WorkerInfo]:
        """Lists the sessions of workers by name. It may be a second old.

        Args:
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before.
        """
        request = run_pb2.ListWorkersRequest(page_size=page_size, page_token=page_token)
        response = await self.call(_rpc.LIST_WORKERS, request)
        return Page(tuple(_convert.worker_info(worker) for worker in response.workers), response.next_page_token)

    async def list_queues(self, *, page_size: int = 0, page_token: str = "") -> Page[QueueInfo]:
        """Lists the queues by name, with what waits in them and which of it nobody serves. It may be a second old.

        Args:
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before.
        """
        request = run_pb2.ListQueuesRequest(page_size=page_size, page_token=page_token)
        response = await self.call(_rpc.LIST_QUEUES, request)
        return Page(tuple(_convert.queue_info(queue) for queue in response.queues), response.next_page_token)

    # -------------------------------------------------------------------------------------------------- runs

    async def start_run(
        self,
        flow: str = "",
        input: Any = None,
        *,
        version: int = 0,
        idempotency_key: str | None = None,
        scope: str = "",
        plan: Mapping[str, Any] | Iterable[Step] | None = None,
    ) -> AsyncRun:
        """Starts a run: of a flow, or of a plan that comes along.

        Args:
            flow: slug of the flow; leave it out for a plan.
            input: anything JSON can hold; `bytes` are JSON already; None = {}.
            version: 0 = the latest.
            idempotency_key: up to 128 characters, unique per flow, and among the runs of all plans: the same key and
                input is the same run, and the call is safe to repeat; None = none.
            scope: only workers of this scope get its tasks; empty = the common one.
            plan: steps, or a document as in a flow file, without slug, queue and new_version. It is stored under the
                hash of its content and goes with its last run; a step's handler is by default the step's slug.

        Returns:
            A handle; `.created` is False when the key had started it before.

        Raises:
            InvalidArgument: the input is too large, or no array where the flow begins with a map; everything that is
                wrong with the plan.
            NotFound: there is no such flow or version.
            AlreadyExists: the key was used with another input, version or plan.
        """
        request = start_request(RunSpec(flow, input, version, idempotency_key, scope, plan))
        response = await self.call(_rpc.START_RUN, request, retry=bool(idempotency_key))
        return AsyncRun(self, response.run.run_id, created=response.created, flow=response.run.flow)

    async def start_runs(self, runs: Iterable[RunSpec]) -> list[StartResult]:
        """Starts many runs, each accepted or refused on its own; any number, in calls of up to 1,000.

        Args:
            runs: what to start.

        Returns:
            What became of each, in order.
        """
        results: list[StartResult] = []
        batch, size, repeatable = run_pb2.StartRunsRequest(), 0, True
        for spec in runs:
            request = start_request(spec)
            length = request.ByteSize() + 8
            if batch.requests and (len(batch.requests) >= _RUNS_PER_CALL or size + length > MAX_MESSAGE_BYTES // 2):
                results += await self._start_batch(batch, repeatable)
                batch, size, repeatable = run_pb2.StartRunsRequest(), 0, True
            batch.requests.append(request)
            size += length
            repeatable = repeatable and bool(spec.idempotency_key)
        return results + (await self._start_batch(batch, repeatable) if batch.requests else [])

    async def _start_batch(self, batch: run_pb2.StartRunsRequest, repeatable: bool) -> list[StartResult]:
        response = await self.call(_rpc.START_RUNS, batch, retry=repeatable)
        return [_convert.start_result(result) for result in response.results]

    def run(self, run_id: str) -> AsyncRun:
        """A handle for a run; asks nobody whether it exists."""
        return AsyncRun(self, run_id, created=False)

    async def get_run(self, run_id: str, *, full: bool = True) -> RunSnapshot:
        """Reads a run with its steps; `full` with payloads. Raises NotFound."""
        request = run_pb2.GetRunRequest(run_id=run_id, view=_convert.view_number(full))
        return _convert.run_snapshot((await self.call(_rpc.GET_RUN, request)).run)

    async def list_runs(
        self,
        *,
        flow: str = "",
        version: int = 0,
        status: RunStatus | str | None = None,
        start_time_min: datetime.datetime | None = None,
        start_time_max: datetime.datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
        full: bool = False,
    ) -> Page[RunSnapshot]:
        """Lists runs, newest first, without steps.

        Args:
            flow: only runs of this flow; empty = all.
            version: only runs of this version; 0 = all.
            status: only runs in this status; None = all.
            start_time_min: only runs started then or later; None = all.
            start_time_max: only runs started before; None = all.
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before, with the same filters.
            full: with payloads.
        """
        request = run_pb2.ListRunsRequest(
            flow=flow,
            version=version,
            status=_convert.run_status_number(status),
            start_time_min=_convert.stamp_or_none(start_time_min),
            start_time_max=_convert.stamp_or_none(start_time_max),
            page_size=page_size,
            page_token=page_token,
            view=_convert.view_number(full),
        )
        response = await self.call(_rpc.LIST_RUNS, request)
        return Page(tuple(_convert.run_snapshot(run) for run in response.runs), response.next_page_token)

    async def list_tasks(
        self,
        run_id: str,
        *,
        step: str = "",
        status: TaskStatus | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        full: bool = False,
    ) -> Page[TaskSnapshot]:
        """Lists the tasks of a run by step and index.

        Args:
            run_id: UUID of the run.
            step: only tasks of this step; empty = all.
            status: only tasks in this status; None = all.
            page_size: up to 1,000; 0 = 50.
            page_token: from the page before, with the same filters.
            full: with payloads.
        """
        request = run_pb2.ListTasksRequest(
            run_id=run_id,
            step=step,
            status=_convert.task_status_number(status),
            page_size=page_size,
            page_token=page_token,
            view=_convert.view_number(full),
        )
        response = await self.call(_rpc.LIST_TASKS, request)
        return Page(tuple(_convert.task_snapshot(task) for task in response.tasks), response.next_page_token)

    async def get_task(self, run_id: str, step: str, index: int = 0) -> TaskSnapshot:
        """Reads a task with input, output and every attempt; index 0 for a single step. Raises NotFound."""
        request = run_pb2.GetTaskRequest(run_id=run_id, step=step, task_index=index)
        return _convert.task_snapshot((await self.call(_rpc.GET_TASK, request)).task)

    def watch(self, run_id: str, cursor: str | None = None) -> AsyncGenerator[RunSnapshot, None]:
        """Follows a run to its end: `run(run_id).watch(cursor)`."""
        return self.run(run_id).watch(cursor)

    async def cancel_run(self, run_id: str, *, reason: str = "") -> bool:
        """Ends a run: queued tasks go, handlers are told to stop. False when it had ended before. Raises NotFound."""
        request = run_pb2.CancelRunRequest(run_id=run_id, reason=reason)
        return (await self.call(_rpc.CANCEL_RUN, request)).cancelled

    async def retry_run(self, run_id: str) -> bool:
        """Lets a failed or cancelled run go on: what is finished stays, the rest starts again with all its attempts.

        Returns:
            False when it was started already.

        Raises:
            NotFound: there is no such run.
            FailedPrecondition: it has completed.
        """
        return (await self.call(_rpc.RETRY_RUN, run_pb2.RetryRunRequest(run_id=run_id))).retried

    async def execute(
        self,
        flow: str | Flow | Mapping[str, Any] | Iterable[Step],
        input: Any = None,
        step_functions: Mapping[str, Callable[..., Any]] | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs a flow in this process: starts a run, serves its tasks here and nowhere else, returns its output.

        Args:
            flow: a slug; a Flow, which is registered first and brings its functions; or a plan as for `start_run`, its
                steps or a document, of which nothing stays but its run.
            input: anything JSON can hold; `bytes` are JSON already; None = {}.
            step_functions: functions by step slug (or by handler name), sync or async, `(input)` or `(input, ctx)`.
            idempotency_key: attaches to the run that this key started, or returns its output; None = a new run.
            timeout: seconds to wait; None = for ever.

        Returns:
            `{leaf slug: output}`.

        Raises:
            MissingHandlers: a step has no function; nothing was started.
            RunFailed: with the step, code and message of the failure.
            RunCancelled: somebody cancelled the run.
            TimeoutError: the time is up; the run goes on, and another call with the same key attaches to it.
        """
        from ._execute import execute

        return await execute(
            self, self._transport, flow, input, step_functions or {}, key=idempotency_key, timeout_s=timeout
        )

    # ------------------------------------------------------------------------------------------------ inside

    async def call(
        self, rpc: Rpc[Req, Res], request: Req, *, retry: bool | None = None, timeout_s: float | None = None
    ) -> Res:
        """One unary call of the contract, repeated while that is safe and the deadline allows.

        Args:
            rpc: which call.
            request: its message.
            retry: whether a repetition changes nothing; None = as the contract says.
            timeout_s: deadline, retries included; None = the client's.

        Raises:
            RequestError: it was refused, or nobody answered in time.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        repeatable = rpc.idempotent if retry is None else retry
        attempt = 0
        while True:
            left_s = deadline - time.monotonic()
            try:
                return await self._transport.call(rpc, request, timeout_s=max(0.001, left_s))
            except RequestError as error:
                wait_s = full_jitter_s(attempt, random.random, cap_s=_RETRY_CAP_S)
                if not _may_repeat(error, repeatable) or time.monotonic() + wait_s >= deadline:
                    raise
            attempt += 1
            await asyncio.sleep(wait_s)

    def open_watch(self, request: run_pb2.WatchRunRequest) -> AsyncGenerator[run_pb2.WatchRunResponse, None]:
        """One WatchRun call, not resumed."""
        return self._transport.watch(request)


def _may_repeat(error: RequestError, repeatable: bool) -> bool:
    """OVERLOADED was not begun, so anything may be tried again; what nobody has answered may have been done already."""
    if isinstance(error, ResourceExhausted):
        return error.reason == "OVERLOADED"
    return repeatable and isinstance(error, Unavailable | DeadlineExceeded)
