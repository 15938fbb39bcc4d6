"""retry_run of the SDK, with a real worker: what is finished is not executed again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Client, Context, FailedPrecondition, NotFound, RunFailed, Step, Worker


async def test_a_failed_run_completes_and_no_finished_handler_runs_again(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    executed: Counter[str] = Counter()
    mended = False
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("numbers", flow="sums")
    async def numbers(input: Any) -> list[int]:
        executed["numbers"] += 1
        return list(range(10))

    @worker.step("double", flow="sums")
    async def double(input: Any, ctx: Context) -> int:
        executed[f"double {ctx.index}"] += 1
        if ctx.index == 7 and not mended:
            # The others first, so that they are finished when this one fails.
            async with asyncio.timeout(30):
                while (await ctx.client.get_run(ctx.run_id)).steps["double"].counts.completed < 9:
                    await asyncio.sleep(0.01)
            raise ValueError("seven is broken")
        return int(input["item"]) * 2

    @worker.step("total", flow="sums")
    async def total(input: Any) -> int:
        executed["total"] += 1
        return sum(input["double"])

    serving = asyncio.create_task(worker.serve())
    steps = [
        Step("numbers"),
        Step("double", depends_on=["numbers"], step_type="map", max_attempts=1),
        Step("total", depends_on=["double"]),
    ]
    await client.create_flow("sums", steps)
    run = await client.start_run("sums")
    with pytest.raises(RunFailed, match="seven is broken"):
        await run.result(timeout=30)
    mended = True
    assert await run.retry()
    assert await run.result(timeout=30) == {"total": 90}
    assert executed == {"numbers": 1, "total": 1, **{f"double {n}": 2 if n == 7 else 1 for n in range(10)}}
    with pytest.raises(FailedPrecondition) as refused:
        await run.retry()
    assert refused.value.reason == "RUN_COMPLETED"
    worker.stop()
    await serving


async def test_the_blocking_client_retries_as_well(coordinator: Coordinator, client: AsyncClient) -> None:
    await client.create_flow("f", [Step("a")])
    run = await client.start_run("f")
    assert not await client.retry_run(run.id)
    await run.cancel()

    def blocking() -> list[bool]:
        with Client(f"127.0.0.1:{coordinator.port}") as blocked:
            return [blocked.run(run.id).retry(), blocked.retry_run(run.id)]

    assert await asyncio.to_thread(blocking) == [True, False]
    with pytest.raises(NotFound):
        await client.retry_run("01890000-0000-7000-8000-000000000000")
