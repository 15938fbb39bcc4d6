"""What valid requests refer to, and one valid request for every rpc with each of its fields set."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2
from tests.support.flows import define, start_run
from tests.support.raw_worker import raw_worker


@dataclass
class World:
    """Two flows, a run of each, and two workers that each hold a task."""

    channel: grpc.aio.Channel
    #: A run of `wide`, whose tasks a and b are leased; c waits.
    run_id: str
    #: A run of `other`.
    other_run_id: str
    #: A lease of the first worker, one of the second, and one of the second that it gave back.
    token: bytes
    other_token: bytes
    ended_token: bytes
    #: A run of `other` that has ended.
    ended_run_id: str
    #: Cursor of the ended run's last frame, and of a frame of `run_id`.
    cursor: str
    other_cursor: str
    #: A page token of each list.
    page_tokens: dict[str, str] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    def fresh(self) -> str:
        """A slug that nothing bears yet."""
        return f"fresh_{next(self._numbers)}"

    def steps(self, count: int, *, depends_on: int = 0) -> list[flow_pb2.StepDefinition]:
        """That many steps, each with that many dependencies."""
        needed = [f"d{number}" for number in range(depends_on)]
        return [flow_pb2.StepDefinition(slug=f"s{number}", depends_on=needed) for number in range(count)]

    def circle(self) -> list[flow_pb2.StepDefinition]:
        """Three steps that wait for each other."""
        pairs = [("p", "q"), ("q", "r"), ("r", "p")]
        return [flow_pb2.StepDefinition(slug=slug, depends_on=[needed]) for slug, needed in pairs]

    def starts(self, count: int) -> list[run_pb2.StartRunRequest]:
        """That many runs."""
        return [_start(self) for _ in range(count)]


@asynccontextmanager
async def made_world(channel: grpc.aio.Channel) -> AsyncIterator[World]:
    """The world, in a fresh database."""
    await define(channel, "wide", a=[], b=[], c=["a"], maps=["c"])
    await define(channel, "other", work=[])
    await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(flow_pb2.CreateFlowRequest(slug="grow", steps=[_root()]))
    run_id = await start_run(channel, "wide", {"n": 2}, idempotency_key="taken")
    async with raw_worker(channel, ["wide.a", "wide.b"], credits=2) as first:
        tasks = await first.take_tasks(2)
        async with raw_worker(channel, ["other.work"], credits=2) as second:
            ended_run_id = await start_run(channel, "other")
            [ended] = await second.take_tasks(1)
            second.complete(ended)
            await second.take_acks(1)
            other_run_id = await start_run(channel, "other")
            [held] = await second.take_tasks(1)
            world = World(
                channel=channel,
                run_id=run_id,
                other_run_id=other_run_id,
                token=tasks[0].token,
                other_token=held.token,
                ended_token=ended.token,
                ended_run_id=ended_run_id,
                cursor=await _cursor(channel, ended_run_id),
                other_cursor=await _cursor(channel, run_id),
            )
            await _take_page_tokens(world)
            yield world


async def _cursor(channel: grpc.aio.Channel, run_id: str) -> str:
    call = run_pb2_grpc.RunServiceStub(channel).WatchRun(run_pb2.WatchRunRequest(run_id=run_id))
    frame = await call.read()
    call.cancel()
    return str(frame.cursor)


async def _take_page_tokens(world: World) -> None:
    for stub in (flow_pb2_grpc.FlowServiceStub(world.channel), run_pb2_grpc.RunServiceStub(world.channel)):
        for rpc in [name for name in vars(stub) if name.startswith("List")]:
            page = await getattr(stub, rpc)(await VALID[rpc](world))
            assert page.next_page_token, f"{rpc}: the world is too small for a second page"
            world.page_tokens[rpc] = page.next_page_token


def tampered(token: str, change: Callable[[list[Any]], list[Any]]) -> str:
    """A page token whose position nobody made."""
    parts = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps(change(parts)).encode()).decode().rstrip("=")


# ---------------------------------------------------------------------------------------------------- valid requests


def _root() -> flow_pb2.StepDefinition:
    return flow_pb2.StepDefinition(slug="root")


def _step(slug: str) -> flow_pb2.StepDefinition:
    params = Struct()
    params.update({"path": "/a"})
    return flow_pb2.StepDefinition(
        slug=slug,
        depends_on=["root"],
        step_type=common_pb2.STEP_TYPE_MAP,
        initial_tasks=3,
        handler="fetch",
        params=params,
        max_attempts=2,
        timeout_s=5,
        base_delay_s=1,
        max_delay_s=9,
        queue="shared",
    )


def _definition(slug: str) -> flow_pb2.CreateFlowRequest:
    return flow_pb2.CreateFlowRequest(
        slug=slug,
        steps=[_step("each"), _root()],
        max_attempts=2,
        timeout_s=5,
        base_delay_s=1,
        max_delay_s=9,
        queue="shared",
        new_version=True,
    )


async def _create_flow(world: World) -> Message:
    return _definition(world.fresh())


async def _validate_flow(_world: World) -> Message:
    return flow_pb2.ValidateFlowRequest(flow=_plan("never"))


async def _add_step(world: World) -> Message:
    return flow_pb2.AddStepRequest(flow="grow", step=_step(world.fresh()))


async def _get_flow(_world: World) -> Message:
    return flow_pb2.GetFlowRequest(flow="wide", version=1)


async def _list_flows(_world: World) -> Message:
    return flow_pb2.ListFlowsRequest(page_size=1, view=common_pb2.VIEW_FULL)


async def _list_flows_of_a_prefix(_world: World) -> Message:
    return flow_pb2.ListFlowsRequest(slug_prefix="w")


async def _delete_flow(world: World) -> Message:
    slug = world.fresh()
    await define(world.channel, slug, work=[])
    return flow_pb2.DeleteFlowRequest(flow=slug, force=True)


async def _list_handlers(_world: World) -> Message:
    return flow_pb2.ListHandlersRequest(page_size=1)


async def _list_handlers_of_a_prefix(_world: World) -> Message:
    return flow_pb2.ListHandlersRequest(name_prefix="w")


def _start(world: World) -> run_pb2.StartRunRequest:
    return run_pb2.StartRunRequest(
        flow="wide", version=1, input=b'{"n": 1}', idempotency_key=world.fresh(), scope="apart"
    )


async def _start_run(world: World) -> Message:
    return _start(world)


def _plan(slug: str = "") -> flow_pb2.CreateFlowRequest:
    """A definition with nothing but a slug that a plan is refused for."""
    plan = _definition(slug)
    plan.new_version = False
    plan.queue = plan.steps[0].queue = "plans"
    return plan


async def _start_plan(_world: World) -> Message:
    return run_pb2.StartRunRequest(plan=_plan(), input=b"[1, 2, 3]")


async def _validate_plan(_world: World) -> Message:
    return flow_pb2.ValidateFlowRequest(flow=_plan(), inline=True)


async def _start_runs(world: World) -> Message:
    return run_pb2.StartRunsRequest(requests=[_start(world), _start(world)])


async def _get_run(world: World) -> Message:
    return run_pb2.GetRunRequest(run_id=world.run_id, view=common_pb2.VIEW_FULL)


async def _list_runs(_world: World) -> Message:
    return run_pb2.ListRunsRequest(
        page_size=1,
        status=common_pb2.RUN_STATUS_STARTED,
        start_time_min=Timestamp(seconds=1_000_000_000),
        start_time_max=Timestamp(seconds=100_000_000_000),
        view=common_pb2.VIEW_BASIC,
    )


async def _list_runs_of_a_flow(_world: World) -> Message:
    return run_pb2.ListRunsRequest(flow="wide", version=1)


async def _list_tasks(world: World) -> Message:
    return run_pb2.ListTasksRequest(
        run_id=world.run_id, status=common_pb2.TASK_STATUS_STARTED, page_size=1, view=common_pb2.VIEW_FULL
    )


async def _list_tasks_of_a_step(world: World) -> Message:
    return run_pb2.ListTasksRequest(run_id=world.run_id, step="a")


async def _get_task(world: World) -> Message:
    return run_pb2.GetTaskRequest(run_id=world.run_id, step="a", task_index=0)


async def _watch_run(world: World) -> Message:
    # One that has ended has a last frame for every reader, also one with a cursor.
    return run_pb2.WatchRunRequest(run_id=world.ended_run_id, view=common_pb2.VIEW_FULL)


async def _cancel_run(world: World) -> Message:
    return run_pb2.CancelRunRequest(run_id=world.run_id, reason="enough")


async def _retry_run(world: World) -> Message:
    return run_pb2.RetryRunRequest(run_id=world.run_id)


async def _list_workers(_world: World) -> Message:
    return run_pb2.ListWorkersRequest(page_size=1)


async def _list_queues(_world: World) -> Message:
    return run_pb2.ListQueuesRequest(page_size=1)


async def _get_run_input(world: World) -> Message:
    return worker_pb2.GetRunInputRequest(token=world.token)


#: Rpc, and what a second request of it visits -> maker of a valid request.
VALID: dict[str, Callable[[World], Awaitable[Message]]] = {
    "CreateFlow": _create_flow,
    "ValidateFlow": _validate_flow,
    "ValidateFlow of a plan": _validate_plan,
    "AddStep": _add_step,
    "GetFlow": _get_flow,
    "ListFlows": _list_flows,
    "ListFlows of a prefix": _list_flows_of_a_prefix,
    "DeleteFlow": _delete_flow,
    "ListHandlers": _list_handlers,
    "ListHandlers of a prefix": _list_handlers_of_a_prefix,
    "StartRun": _start_run,
    "StartRun of a plan": _start_plan,
    "StartRuns": _start_runs,
    "GetRun": _get_run,
    "ListRuns": _list_runs,
    "ListRuns of a flow": _list_runs_of_a_flow,
    "ListTasks": _list_tasks,
    "ListTasks of a step": _list_tasks_of_a_step,
    "GetTask": _get_task,
    "WatchRun": _watch_run,
    "CancelRun": _cancel_run,
    "RetryRun": _retry_run,
    "ListWorkers": _list_workers,
    "ListQueues": _list_queues,
    "GetRunInput": _get_run_input,
}
