"""Workers that serve parts of flows, steps that nobody serves, and executions that keep to themselves."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, RunSpec, Step, TaskError, Worker


@asynccontextmanager
async def serving(
    coordinator: Coordinator, handlers: dict[str, Callable[..., Any]], **options: Any
) -> AsyncIterator[Worker]:
    """An SDK worker with these handlers, drained at the end."""
    worker = Worker(target=f"127.0.0.1:{coordinator.port}", **options)
    for name, function in handlers.items():
        worker.step(name)(function)
    task = asyncio.create_task(worker.serve())
    await asyncio.wait_for(worker.wait_ready(), 10)
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 20)


async def test_two_workers_with_half_of_the_steps_each_finish_a_run_together(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    await client.create_flow("halves", [Step("a"), Step("b", depends_on=["a"]), Step("c", depends_on=["b"])])
    async with (
        serving(coordinator, {"halves.a": lambda i: "a", "halves.c": lambda i: i["b"] + "c"}),
        serving(coordinator, {"halves.b": lambda i: i["a"] + "b"}),
    ):
        run = await client.start_run("halves")
        assert await run.result(timeout=20) == {"c": "abc"}


async def test_a_step_nobody_serves_waits_shows_as_unserved_and_slows_nobody(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    await client.create_flow("lonely", [Step("served"), Step("unserved")], queue="shared")
    await client.create_flow("other", [Step("work")], queue="shared")
    async with serving(coordinator, {"lonely.served": lambda i: 1, "other.work": lambda i: 2}):
        started = await client.start_runs([RunSpec("lonely", {})] * 50)
        run = await client.start_run("other")
        assert await run.result(timeout=20) == {"work": 2}
        async with asyncio.timeout(10):
            while True:
                snapshot = await client.get_run(started[0].run_id)
                if snapshot.steps["served"].status == "completed":
                    break
                await asyncio.sleep(0.05)
        assert snapshot.steps["unserved"].unserved
        assert not snapshot.steps["served"].unserved
        task = await client.get_task(started[0].run_id, "unserved")
        assert (task.status, task.attempt, task.lost_leases) == ("queued", 1, 0)
    async with serving(coordinator, {"lonely.unserved": lambda i: 3}):
        assert await client.run(started[0].run_id).result(timeout=20) == {"served": 1, "unserved": 3}


async def test_psql_alone_defines_a_flow_that_a_worker_executes(
    coordinator: Coordinator, client: AsyncClient, conn: psycopg.AsyncConnection[Any]
) -> None:
    for _ in range(2):
        await conn.execute("select pgflow.create_flow('by_hand')")
        await conn.execute("select pgflow.add_step('by_hand', 'fetch')")
        await conn.execute("select pgflow.add_step('by_hand', 'double', array['fetch'], 'map')")
        await conn.execute("select pgflow.add_step('by_hand', 'save', array['double'])")
    handlers = {
        "by_hand.fetch": lambda i: i["run"]["numbers"],
        "by_hand.double": lambda i: i["item"] * 2,
        "by_hand.save": lambda i: sum(i["double"]),
    }
    async with serving(coordinator, handlers):
        cursor = await conn.execute("select run_id::text from pgflow.start_run('by_hand', '{\"numbers\": [1, 2, 3]}')")
        row = await cursor.fetchone()
        assert row is not None
        assert await client.run(row[0]).result(timeout=20) == {"save": 12}


async def test_a_retry_comes_after_its_delay_and_the_attempts_are_kept(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    await client.create_flow("flaky", [Step("work", max_attempts=3, base_delay_s=0)])
    seen: list[int] = []

    def work(input: Any, ctx: Any) -> int:
        seen.append(ctx.attempt)
        if ctx.attempt < 3:
            raise TaskError("not yet", code="NOT_YET", retry_after_s=0.05 if ctx.attempt == 2 else None)
        return ctx.attempt

    async with serving(coordinator, {"flaky.work": work}):
        run = await client.start_run("flaky")
        assert await run.result(timeout=20) == {"work": 3}
        assert seen == [1, 2, 3]
        task = await client.get_task(run.id, "work")
        assert [(a.attempt, a.code) for a in task.attempts] == [(1, "NOT_YET"), (2, "NOT_YET"), (3, "")]


async def test_one_handler_serves_steps_of_flows_that_appear_later(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    async with serving(coordinator, {"fetch_url": lambda i, ctx: ctx.params["url"]}):
        for n in range(5):
            steps = [Step(f"s{k}", handler="fetch_url", params={"url": f"{n}-{k}"}) for k in range(2)]
            await client.create_flow(f"late{n}", steps)
        runs = [await client.start_run(f"late{n}") for n in range(5)]
        outputs = [await run.result(timeout=20) for run in runs]
        assert outputs == [{"s0": f"{n}-0", "s1": f"{n}-1"} for n in range(5)]


async def test_twenty_processes_execute_one_slug_with_different_functions(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    await client.create_flow("same", [Step("a"), Step("b", depends_on=["a"])])
    program = textwrap.dedent(
        """
        import sys
        from stepgres_worker import Client
        n = int(sys.argv[2])
        with Client(sys.argv[1]) as client:
            out = client.execute("same", {}, {"a": lambda i: n, "b": lambda i: i["a"] * 1000 + n}, timeout=60)
        print(out["b"])
        """
    )
    target = f"127.0.0.1:{coordinator.port}"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, target, str(n), stdout=asyncio.subprocess.PIPE
        )
        for n in range(20)
    ]
    outputs = [await process.communicate() for process in processes]
    assert [int(out) for out, _ in outputs] == [n * 1001 for n in range(20)]


async def test_cancelling_a_run_reaches_the_handler(coordinator: Coordinator, client: AsyncClient) -> None:
    await client.create_flow("slow", [Step("work", timeout_s=60)])
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work(input: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(coordinator, {"slow.work": work}):
        run = await client.start_run("slow")
        await asyncio.wait_for(started.wait(), 10)
        await run.cancel()
        await asyncio.wait_for(cancelled.wait(), 10)
        assert (await run.get()).status == "cancelled"
