"""Short words for the calls that most tests make, over real gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc

WAIT_S = 10.0


async def define(
    channel: grpc.aio.Channel,
    slug: str,
    *,
    maps: Sequence[str] = (),
    step: dict[str, Any] | None = None,
    **steps: Sequence[str],
) -> None:
    """Creates a flow: define(channel, "etl", fetch=[], save=["fetch"]).

    Args:
        maps: which steps are maps.
        step: further fields of every step, such as {"max_attempts": 1}.
    """
    definitions = [
        flow_pb2.StepDefinition(
            slug=name,
            depends_on=depends_on,
            step_type=common_pb2.STEP_TYPE_MAP if name in maps else common_pb2.STEP_TYPE_SINGLE,
            **(step or {}),
        )
        for name, depends_on in steps.items()
    ]
    await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(flow_pb2.CreateFlowRequest(slug=slug, steps=definitions))


async def start_run(channel: grpc.aio.Channel, flow: str, input: Any = None, **fields: Any) -> str:
    """Starts a run; returns its id."""
    request = run_pb2.StartRunRequest(flow=flow, input=json.dumps({} if input is None else input).encode(), **fields)
    return (await run_pb2_grpc.RunServiceStub(channel).StartRun(request)).run.run_id


async def start_runs(channel: grpc.aio.Channel, flow: str, count: int) -> list[str]:
    """Starts runs; returns their ids."""
    request = run_pb2.StartRunsRequest(requests=[run_pb2.StartRunRequest(flow=flow)] * count)
    response = await run_pb2_grpc.RunServiceStub(channel).StartRuns(request)
    return [result.run_id for result in response.results]


async def get_run(channel: grpc.aio.Channel, run_id: str) -> run_pb2.Run:
    """Reads a run."""
    return (await run_pb2_grpc.RunServiceStub(channel).GetRun(run_pb2.GetRunRequest(run_id=run_id))).run


async def get_task(channel: grpc.aio.Channel, run_id: str, step: str, index: int = 0) -> run_pb2.Task:
    """Reads a task."""
    request = run_pb2.GetTaskRequest(run_id=run_id, step=step, task_index=index)
    return (await run_pb2_grpc.RunServiceStub(channel).GetTask(request)).task


async def run_status(channel: grpc.aio.Channel, run_id: str) -> str:
    """Status of a run, without its prefix."""
    run = await get_run(channel, run_id)
    return common_pb2.RunStatus.Name(run.status).removeprefix("RUN_STATUS_")


async def ended_run(channel: grpc.aio.Channel, run_id: str) -> run_pb2.Run:
    """Waits for the end of a run and reads it; fails after 10 s."""
    stub = run_pb2_grpc.RunServiceStub(channel)
    async with asyncio.timeout(WAIT_S):
        async for frame in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run_id)):
            if frame.WhichOneof("frame") == "end":
                break
    return await get_run(channel, run_id)


async def cancel_run(channel: grpc.aio.Channel, run_id: str) -> None:
    """Cancels a run."""
    await run_pb2_grpc.RunServiceStub(channel).CancelRun(run_pb2.CancelRunRequest(run_id=run_id, reason="test"))


async def eventually(condition: Callable[[], Any]) -> None:
    """Waits until an awaitable condition holds; for states that no signal announces. Fails after 10 s."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.02)
