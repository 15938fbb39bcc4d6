"""pgflow.prune_plans and pgflow.prune_ended_runs: what goes, what stays, and what a start at the same moment gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tests.support.sql import call, call_one, someone_waits, values
from tests.support.transitions import Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Transitions:
    return Transitions(conn)


def slug(number: int) -> str:
    return f"plan:{number:032x}"


async def define(conn: Any, number: int, *handlers: str) -> str:
    steps = [
        {
            "slug": f"s{i}",
            "step_type": "single",
            "depends_on": [f"s{i - 1}"] if i else [],
            "handler": handler,
            "params": {},
        }
        for i, handler in enumerate(handlers)
    ]
    await call(conn, "define_plans", [slug(number)], [json.dumps({"max_attempts": 3, "timeout_s": 30, "steps": steps})])
    return slug(number)


async def finish_all(engine: Transitions) -> None:
    session = await engine.open_session()
    while leased := await engine.lease(session):
        await engine.complete(*leased)


async def make_due(conn: Any) -> None:
    await conn.execute("update pgflow.workflows set prune_at = prune_at - interval '11 minutes'")


async def plans(conn: Any) -> list[str]:
    return await values(conn, "select workflow_slug from pgflow.workflows order by 1")


async def rows_of(conn: Any, *tables: str) -> int:
    return sum([(await values(conn, f"select count(*) from pgflow.{table}"))[0] for table in tables])


RUN_TIME = ("runs", "step_states", "step_tasks", "task_errors")


async def test_a_plan_that_never_got_a_run_goes_after_ten_minutes(conn):
    await define(conn, 1, "h")
    assert await call_one(conn, "prune_plans") == 0

    await make_due(conn)

    assert await call_one(conn, "prune_plans") == 1
    assert await rows_of(
        conn, "workflows", "workflow_versions", "workflow_steps", "workflow_step_dependencies_def", "routes"
    ) == 0  # fmt: skip


async def test_a_plan_stays_as_long_as_a_run_of_it_does(conn, engine):
    plan = await define(conn, 1, "h")
    await engine.start(plan)
    await make_due(conn)
    assert await call_one(conn, "prune_plans") == 1
    assert await call_one(conn, "prune_plans") == 0
    await finish_all(engine)
    second = await engine.start(plan)

    assert await call_one(conn, "prune_ended_runs", 0) == 1
    await call_one(conn, "prune_plans")
    assert await plans(conn) == [plan]
    await finish_all(engine)
    assert (await engine.run(second)).status == "completed"

    assert await call_one(conn, "prune_ended_runs", 0) == 1
    assert await call_one(conn, "prune_plans") == 1
    assert await plans(conn) == []
    assert await rows_of(conn, *RUN_TIME, "routes") == 0


async def test_only_runs_that_ended_long_enough_ago_go_and_never_more_than_asked_for(conn, engine):
    await engine.define("f", a=[])
    await engine.start_many("f", 3)
    await finish_all(engine)
    await conn.execute("update pgflow.runs set completed_at = completed_at - interval '1 hour'")
    young = await engine.start("f")
    await finish_all(engine)
    open_run = await engine.start("f")

    assert [await call_one(conn, "prune_ended_runs", 1800, 2) for _ in range(3)] == [2, 1, 0]

    assert {*await values(conn, "select run_id from pgflow.runs")} == {young, open_run}
    assert {*await values(conn, "select run_id from pgflow.step_tasks")} == {young, open_run}


async def test_two_that_prune_share_the_runs_and_one_marks_the_plan_after_the_other(conn, database, engine):
    plan = await define(conn, 1, "h")
    await engine.start_many(plan, 4)
    await finish_all(engine)
    async with await psycopg.AsyncConnection.connect(database) as first:
        assert await call_one(first, "prune_ended_runs", 0, 3) == 3
        # The other one's plan is locked: it waits for the end of that transaction.
        other = asyncio.create_task(call_one(conn, "prune_ended_runs", 0, 3))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as third:
            await someone_waits(third)
        await first.commit()
    assert await other == 1
    assert await call_one(conn, "prune_plans") == 1
    assert await plans(conn) == []


async def test_routes_go_with_the_last_plan_that_needs_them(conn, engine):
    first, second = await define(conn, 1, "shared", "alone"), await define(conn, 2, "shared")
    await call(conn, "create_flow", "f", p_queue="plans")
    await call(conn, "add_step", "f", "a", p_handler="of_a_flow")
    third = await define(conn, 3, "of_a_flow")
    for started in (first, second, third, "f"):
        await engine.start(started)
    await finish_all(engine)
    handlers = "select handler from pgflow.routes order by 1"
    assert await values(conn, handlers) == ["alone", "of_a_flow", "shared"]
    await conn.execute(
        "delete from pgflow.runs where workflow_id in"
        " (select workflow_id from pgflow.workflows where workflow_slug = any(%s))", [[first, third]],
    )  # fmt: skip
    await make_due(conn)

    await call_one(conn, "prune_plans")

    assert await plans(conn) == ["f", second]
    assert await values(conn, handlers) == ["of_a_flow", "shared"]


async def test_a_start_under_way_keeps_its_plan(conn, database, engine):
    plan = await define(conn, 1, "h")
    await make_due(conn)
    async with await psycopg.AsyncConnection.connect(database) as starter:
        run_id = await Transitions(starter).start(plan)
        assert await call_one(conn, "prune_plans") == 0
        await starter.commit()

    await call_one(conn, "prune_plans")

    assert await plans(conn) == [plan]
    await finish_all(engine)
    assert (await engine.run(run_id)).status == "completed"


async def test_a_start_that_comes_while_its_plan_goes_finds_none(conn, database, engine):
    plan = await define(conn, 1, "h")
    await make_due(conn)
    async with (
        await psycopg.AsyncConnection.connect(database) as pruner,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as starter,
    ):
        assert await call_one(pruner, "prune_plans") == 1
        start = asyncio.create_task(Transitions(starter).start_runs([(plan, {}, None)]))
        await someone_waits(conn)
        await pruner.commit()
        (verdict,) = await start
    assert (verdict.verdict, verdict.run_id) == ("unknown_flow", None)
    # Defined again it starts, on a route of its own.
    await define(conn, 1, "h")
    run_id = await engine.start(plan)
    await finish_all(engine)
    assert (await engine.run(run_id)).status == "completed"


async def test_a_route_stays_while_another_plan_that_needs_it_is_being_made(conn, database, engine):
    await define(conn, 1, "h")
    await engine.rows(
        "insert into pgflow.routes (queue_id, scope, handler) select queue_id, '', 'h' from pgflow.queues"
    )
    await make_due(conn)
    async with await psycopg.AsyncConnection.connect(database) as maker:
        second = await define(maker, 2, "h")
        assert await call_one(conn, "prune_plans") == 0
        await maker.commit()

    assert await call_one(conn, "prune_plans") == 1

    assert await plans(conn) == [second]
    assert await values(conn, "select handler from pgflow.routes") == ["h"]


async def test_many_plans_go_in_bounded_batches(conn):
    for number in range(7):
        await define(conn, number, "h")
    await make_due(conn)

    assert [await call_one(conn, "prune_plans", 3) for _ in range(4)] == [3, 3, 1, 0]
    assert await plans(conn) == []
