"""Plans by the thousand: what the database and a coordinator have more of afterwards, and what starts meet while plans go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import psycopg
import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2, run_pb2_grpc
from stepgres_worker import Worker
from tests.support.flows import get_run

AGE = "update pgflow.workflows set prune_at = '2000-01-01' where created_at < clock_timestamp() - interval '50 ms'"
Definition = flow_pb2.StepDefinition


def diamond(number: int) -> flow_pb2.CreateFlowRequest:
    first = Definition(slug="a")
    first.params.update({"number": number})
    rest = {"b": ["a"], "c": ["a"], "d": ["b", "c"]}
    return flow_pb2.CreateFlowRequest(
        steps=[first, *(Definition(slug=slug, depends_on=depends_on) for slug, depends_on in rest.items())]
    )


async def start_all(channel: grpc.aio.Channel, plans: list[Any]) -> list[run_pb2.StartRunResult]:
    """Starts the plans, 500 a call, all calls at once."""
    stub = run_pb2_grpc.RunServiceStub(channel)
    calls = [
        stub.StartRuns(
            run_pb2.StartRunsRequest(requests=[run_pb2.StartRunRequest(plan=plan) for plan in plans[at : at + 500]])
        )
        for at in range(0, len(plans), 500)
    ]
    return [result for response in await asyncio.gather(*calls) for result in response.results]


async def rows(conn: psycopg.AsyncConnection[Any], query: Any) -> list[Any]:
    return await (await conn.execute(query)).fetchall()


@pytest.mark.slow
async def test_ten_thousand_distinct_plans_run_and_the_database_has_no_relation_more(channel, coordinator, conn):
    relations = "select relname from pg_class where relnamespace <> 'pg_toast'::regnamespace order by 1"
    before = await rows(conn, relations)
    worker = Worker(target=f"127.0.0.1:{coordinator.port}", concurrency=400)
    seen: set[int] = set()

    async def work(_input: Any, ctx: Any) -> None:
        seen.add(int(ctx.params.get("number", 0)))

    for slug in "abcd":
        worker.step(slug)(work)
    serving = asyncio.create_task(worker.serve())

    results = await start_all(channel, [diamond(number) for number in range(10_000)])

    assert all(result.created for result in results)
    async with asyncio.timeout(120):
        while await rows(conn, "select from pgflow.runs where completed_at is null limit 1"):
            await asyncio.sleep(0.1)
    assert await rows(conn, "select status, count(*) from pgflow.runs group by 1") == [("completed", 10_000)]
    assert seen == set(range(10_000))
    assert await rows(conn, "select count(*) from pgflow.workflows where workflow_slug like 'plan:%'") == [(10_000,)]
    assert await rows(conn, relations) == before
    assert await rows(conn, "select count(*) from pgflow.routes") == [(4,)]
    worker.stop()
    await serving


# It deletes the rows of open runs and leaves those of their tasks, so that their plans can go at any moment.
@pytest.mark.tampers
async def test_plans_start_while_plans_go(channel, database):
    """Whatever a start meets, it gets its run, complete and on routes that are there."""
    done = asyncio.Event()

    async def prune(conn: psycopg.AsyncConnection[Any]) -> None:
        # As if plans had 50 ms to get a run, and not 10 minutes.
        while not done.is_set():
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                await conn.execute(AGE)
            await conn.execute("delete from pgflow.runs where run_id in (select run_id from pgflow.runs limit 200)")
            await conn.execute("select pgflow.prune_plans()")

    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as first,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as second,
    ):
        pruning = [asyncio.create_task(prune(conn)) for conn in (first, second)]
        results: list[run_pb2.StartRunResult] = []
        for round_ in range(100):
            plans = [diamond(number % 7) for number in range(round_, round_ + 3)]
            results += await start_all(channel, plans)
        done.set()
        await asyncio.gather(*pruning)

        errors = [result.error for result in results if result.HasField("error")]
        assert errors == []
        (stored,) = await rows(first, "select last_value from pgflow.workflows_workflow_id_seq")
        assert stored[0] > 7, "no plan went and came again: this test shows nothing"
        broken = (
            "select count(*) from pgflow.runs as r where step_count <> 4 or not exists (select from pgflow.workflows"
            " as w where w.workflow_id = r.workflow_id) or 4 <> (select count(*) from pgflow.step_states as s join"
            " pgflow.routes as t using (route_id) where s.run_id = r.run_id)"
        )
        assert await rows(first, broken) == [(0,)]
    (last,) = await start_all(channel, [diamond(0)])
    assert (await get_run(channel, last.run_id)).status == common_pb2.RUN_STATUS_STARTED
