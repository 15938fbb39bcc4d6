"""A handler is a name: flows that come after its worker are served, and steps that share it differ by their params."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Context, RunSpec, Step, Worker
from tests.integration.catalogue.served import serving
from tests.support.flows import eventually

FLOWS = 1_000


@pytest.mark.slow
async def test_one_handler_serves_a_thousand_flows_made_after_its_worker_started(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    served: list[tuple[str, int]] = []
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("fetch_url")
    async def fetch_url(input: Any, ctx: Context) -> int:
        served.append((ctx.flow, ctx.params["n"]))
        return int(ctx.params["n"])

    slots = asyncio.Semaphore(20)

    async def create(number: int) -> None:
        async with slots:
            step = Step("get", handler="fetch_url", params={"n": number})
            await client.create_flow(f"flow_{number}", [step], queue="fetching")

    async with serving(worker):
        await asyncio.gather(*(create(number) for number in range(FLOWS)))
        results = await client.start_runs(RunSpec(f"flow_{number}") for number in range(FLOWS))
        assert all(result.error is None for result in results)

        async def done() -> bool:
            return len(await client.list_runs(status="started")) == 0

        await eventually(done)
        assert sorted(served) == sorted((f"flow_{number}", number) for number in range(FLOWS))
        assert (await client.get_run(results[123].run_id)).output == {"get": 123}
        (handler,) = await client.list_handlers()
        assert (handler.session_count, handler.step_count, len(handler.steps)) == (1, FLOWS, 100)
        assert handler.steps[:3] == ("flow_0.get", "flow_1.get", "flow_10.get")
        (queue,) = await client.list_queues()
        assert (queue.queue, queue.depth, queue.unserved_steps) == ("fetching", 0, ())


async def test_two_steps_of_one_handler_get_their_own_params(coordinator: Coordinator, client: AsyncClient) -> None:
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("scale")
    async def scale(input: dict[str, Any], ctx: Context) -> int:
        value = input["run"] if ctx.step == "first" else input["first"]
        return int(value) * int(ctx.params["by"])

    async with serving(worker):
        await client.create_flow(
            "twice",
            [
                Step("first", handler="scale", params={"by": 2}),
                Step("second", ["first"], handler="scale", params={"by": 10}),
            ],
        )
        run = await client.start_run("twice", 7)
        assert await run.result(timeout=30) == {"second": 140}
        (handler,) = await client.list_handlers()
        assert handler.steps == ("twice.first", "twice.second")
