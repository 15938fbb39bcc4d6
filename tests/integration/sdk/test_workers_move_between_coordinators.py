"""The worker's stream on real gRPC: a coordinator drains, dies, or takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepgres_service.config import Settings
from stepgres_service.errors import Unavailable
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Context, RunCancelled, Step, Worker


def target(*coordinators: Coordinator) -> str:
    """All of them, as a headless service would resolve."""
    return "ipv4:" + ",".join(f"127.0.0.1:{coordinator.port}" for coordinator in coordinators)


class Counter:
    """A handler that waits for `go` and counts its executions by idempotency key."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.executed: list[str] = []
        self._begun = asyncio.Semaphore(0)

    async def __call__(self, input: Any, ctx: Context) -> int:
        self.executed.append(ctx.idempotency_key)
        self._begun.release()
        await self.go.wait()
        return ctx.index

    async def begun(self, tasks: int) -> None:
        """Waits until so many have begun."""
        async with asyncio.timeout(30):
            for _ in range(tasks):
                await self._begun.acquire()


def streams(*coordinators: Coordinator) -> int:
    """Worker streams that they hold."""
    return sum(
        session.connected for coordinator in coordinators for session in coordinator.engine.registry.sessions.values()
    )


async def until(condition: Callable[[], bool]) -> None:
    """Waits for another part of the system, which has no signal of its own to wait for."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_drained_coordinator_loses_and_repeats_nothing(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator() as first, start_coordinator() as second:
        counter = Counter()
        worker = Worker(target=target(first, second), concurrency=20)
        worker.step("count")(counter)
        serving = asyncio.create_task(worker.serve())
        async with AsyncClient(target(first)) as client:
            await client.create_flow("m", [Step("n", step_type="map", handler="count")])
            await worker.wait_ready()
            held, other = (first, second) if streams(first) else (second, first)
            run = await client.start_run("m", list(range(10)))
            await counter.begun(10)
            draining = asyncio.create_task(held.drain())
            await until(lambda: streams(other) == 1)
            counter.go.set()
            assert await run.result(timeout=30) == {"n": list(range(10))}
            await draining
        worker.stop()
        await serving
        assert len(counter.executed) == len(set(counter.executed)) == 10


async def test_a_broken_stream_is_resumed_with_all_that_is_held(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator() as first, start_coordinator() as second:
        counter = Counter()
        worker = Worker(target=target(first, second), concurrency=20)
        worker.step("count")(counter)
        serving = asyncio.create_task(worker.serve())
        async with AsyncClient(target(first)) as client:
            await client.create_flow("m", [Step("n", step_type="map", handler="count")])
            await worker.wait_ready()
            run = await client.start_run("m", list(range(10)))
            await counter.begun(10)
            for coordinator in (first, second):
                for session in coordinator.engine.registry.sessions.values():
                    session.end(Unavailable("the stream broke"))
            await until(lambda: streams(first, second) == 0)
            await until(lambda: streams(first, second) == 1)
            counter.go.set()
            assert await run.result(timeout=30) == {"n": list(range(10))}
        worker.stop()
        await serving
        assert len(counter.executed) == len(set(counter.executed)) == 10


async def test_a_worker_waits_for_a_coordinator_that_comes_back(database: str, unused_tcp_port: int) -> None:
    listen = f"127.0.0.1:{unused_tcp_port}"
    counter = Counter()
    counter.go.set()
    worker = Worker(target=listen)
    worker.step("count")(counter)
    serving = asyncio.create_task(worker.serve())
    async with AsyncClient(listen) as client:
        for key in ("first", "second"):
            coordinator = Coordinator(Settings(database_url=database, listen=listen))
            await coordinator.start()
            try:
                await client.create_flow("m", [Step("n", handler="count")])
                run = await client.start_run("m", idempotency_key=key)
                assert await run.result(timeout=30) == {"n": 0}
            finally:
                await coordinator.stop(0.2)
    worker.stop()
    await serving


async def test_stopping_says_goodbye_so_that_nothing_waits(coordinator: Coordinator, client: AsyncClient) -> None:
    counter = Counter()
    worker = Worker(target=target(coordinator))
    worker.step("count")(counter)
    serving = asyncio.create_task(worker.serve())
    await client.create_flow("m", [Step("n", handler="count")])
    run = await client.start_run("m")
    await counter.begun(1)
    worker.stop(now=True)
    await serving
    assert streams(coordinator) == 0
    task = await client.get_task(run.id, "n")
    assert (task.status, task.lost_leases, task.attempt) == ("queued", 0, 1)


async def test_cancelling_a_run_cancels_its_handlers(coordinator: Coordinator, client: AsyncClient) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()
    worker = Worker(target=target(coordinator))

    @worker.step("wait")
    async def wait(input: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    serving = asyncio.create_task(worker.serve())
    await client.create_flow("m", [Step("n", handler="wait")])
    run = await client.start_run("m")
    async with asyncio.timeout(30):
        await began.wait()
        assert await run.cancel(reason="changed my mind")
        await cancelled.wait()
    with pytest.raises(RunCancelled, match="changed my mind"):
        await run.result(timeout=30)
    worker.stop()
    await serving


async def test_progress_and_run_input_reach_the_other_side(coordinator: Coordinator, client: AsyncClient) -> None:
    go = asyncio.Event()
    worker = Worker(target=target(coordinator))

    @worker.step("sum")
    async def total(input: Any, ctx: Context) -> Any:
        if input["index"] == 0:
            ctx.progress(0.5, "half way")
            await go.wait()
        return sum(await ctx.run_input())

    serving = asyncio.create_task(worker.serve())
    await client.create_flow("m", [Step("n", step_type="map", handler="sum")])
    run = await client.start_run("m", [1, 2, 3])
    async with asyncio.timeout(30):
        while (await client.get_task(run.id, "n", 0)).progress_message != "half way":
            await asyncio.sleep(0.1)
    go.set()
    assert await run.result(timeout=30) == {"n": [6, 6, 6]}
    worker.stop()
    await serving
