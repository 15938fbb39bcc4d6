"""Runs that points start: inline plans over the raw contract, so that no SDK stands between the kit and what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct

from stepgres.v1 import common_pb2, flow_pb2, run_pb2, run_pb2_grpc
from stepgres_conformance.point import Broken
from stepgres_conformance.system import System

#: Seconds that a run may take which nothing hinders.
RUN_S = 15.0
_CALL_S = 15.0


def step(
    handler: str,
    *,
    slug: str = "",
    map: bool = False,  # noqa: A002 the contract's word
    after: tuple[str, ...] = (),
    params: Mapping[str, Any] | None = None,
    max_attempts: int = 3,
    timeout_s: int = 30,
    base_delay_s: int = 0,
) -> flow_pb2.StepDefinition:
    """A step of a plan; its slug is by default its handler's name."""
    given = None
    if params:
        given = Struct()
        given.update(params)
    return flow_pb2.StepDefinition(
        slug=slug or handler,
        handler=handler,
        step_type=common_pb2.STEP_TYPE_MAP if map else common_pb2.STEP_TYPE_SINGLE,
        depends_on=after,
        params=given,
        max_attempts=max_attempts,
        timeout_s=timeout_s,
        base_delay_s=base_delay_s,
    )


def exact(text: bytes | str) -> Any:
    """JSON with every number as it stands: 1 and 1.0 are the same number, 9007199254740993 and …992 are not."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


class Run:
    """A run that a point has started.

    Args:
        system: where it runs.
        run_id: its id.
    """

    def __init__(self, system: System, run_id: str) -> None:
        self._system = system
        self.id = run_id
        self._ended: run_pb2.Run | None = None

    @property
    def _stub(self) -> run_pb2_grpc.RunServiceStub:
        # That of the coordinator of the moment: it may have been restarted.
        return run_pb2_grpc.RunServiceStub(self._system.coordinator.channel)

    async def end(self, within_s: float = RUN_S, *, rule: str | None = None) -> run_pb2.Run:
        """Waits until it has ended, however.

        Raises:
            Broken: it has not ended in time.
        """
        try:
            async with asyncio.timeout(within_s):
                while self._ended is None:
                    try:
                        await self._watch()
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        await asyncio.sleep(0.1)  # a coordinator that a point has restarted
        except TimeoutError:
            raise Broken(f"a run has not ended after {within_s:g} s: {await self._state()}", rule) from None
        return self._ended

    async def _watch(self) -> None:
        request = run_pb2.WatchRunRequest(run_id=self.id, view=common_pb2.VIEW_FULL)
        call = self._stub.WatchRun(request)
        try:
            async for frame in call:
                if frame.WhichOneof("frame") == "end":
                    self._ended = frame.end
                    return
        finally:
            call.cancel()

    async def completed(self, within_s: float = RUN_S, *, rule: str | None = None) -> Any:
        """Waits until it has completed; returns its output, numbers exact.

        Raises:
            Broken: it has failed, or not ended in time.
        """
        run = await self.end(within_s, rule=rule)
        if run.status != common_pb2.RUN_STATUS_COMPLETED:
            raise Broken(f"a run that should complete has failed: {run.error.code}: {run.error.message}", rule)
        return exact(run.output)

    async def failed(self, within_s: float = RUN_S) -> run_pb2.RunError:
        """Waits until it has failed; returns why.

        Raises:
            Broken: it has completed, or not ended in time.
        """
        run = await self.end(within_s)
        if run.status != common_pb2.RUN_STATUS_FAILED:
            raise Broken(f"a run that should fail has completed with {run.output[:200].decode()}")
        return run.error

    async def tasks(self) -> list[run_pb2.Task]:
        """Up to 1,000 tasks of it."""
        request = run_pb2.ListTasksRequest(run_id=self.id, page_size=1000, view=common_pb2.VIEW_FULL)
        response = await self._stub.ListTasks(request, timeout=_CALL_S)
        return list(response.tasks)

    async def cancel(self) -> None:
        """Cancels it, if it still goes on."""
        if self._ended is None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._stub.CancelRun(run_pb2.CancelRunRequest(run_id=self.id), timeout=_CALL_S)

    async def _state(self) -> str:
        try:
            tasks = await self.tasks()
        except grpc.aio.AioRpcError as error:
            return f"its tasks cannot be read ({error.details()})"
        counts: dict[str, int] = {}
        for task in tasks:
            name = f"{task.step} {common_pb2.TaskStatus.Name(task.status).removeprefix('TASK_STATUS_').lower()}"
            counts[name] = counts.get(name, 0) + 1
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no task yet"


async def start(system: System, steps: tuple[flow_pb2.StepDefinition, ...], input: Any) -> Run:
    """Starts a plan; `input` is JSON as bytes, or a value that is encoded."""
    raw = input if isinstance(input, bytes) else json.dumps(input).encode()
    plan = flow_pb2.CreateFlowRequest(steps=steps)
    stub = run_pb2_grpc.RunServiceStub(system.coordinator.channel)
    response = await stub.StartRun(run_pb2.StartRunRequest(plan=plan, input=raw), timeout=_CALL_S)
    return Run(system, response.run.run_id)
