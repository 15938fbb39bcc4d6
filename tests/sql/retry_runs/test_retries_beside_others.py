"""pgflow.retry_runs beside transactions that want the same run, and after those that tidied up behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tests.support.sql import call, call_one, someone_waits, values
from tests.support.transitions import Transitions


@pytest.fixture
async def engines(database: str) -> Any:
    """Two engines on connections of their own, and a flow of two steps."""
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(2)]
    engines = [Transitions(conn) for conn in conns]
    await engines[0].define("two", a=[], b=["a"])
    yield engines
    await engines[0].assert_invariants()
    for conn in conns:
        await conn.close()


async def _finish(engine: Transitions, *run_ids: Any) -> None:
    session = await engine.open_session()
    while leased := await engine.lease(session):
        await engine.complete(*leased)
    assert {(await engine.run(run_id)).status for run_id in run_ids} == {"completed"}


async def test_a_retry_that_waits_for_a_cancel_retries(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    async with first.conn.transaction():
        await first.cancel(run_id)
        retrying = asyncio.create_task(second.retry(run_id))
        await someone_waits(conn)
    assert await retrying == ["retried"]
    await _finish(first, run_id)


async def test_a_cancel_that_waits_for_a_retry_cancels(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    await first.cancel(run_id)
    async with first.conn.transaction():
        await first.retry(run_id)
        cancelling = asyncio.create_task(second.cancel(run_id))
        await someone_waits(conn)
    assert await cancelling == [True]
    assert await first.states(run_id) == {"a": "cancelled", "b": "cancelled"}
    assert await first.messages() == []


async def test_of_two_retries_one_counts(engines: list[Transitions], conn: psycopg.AsyncConnection[Any]) -> None:
    first, second = engines
    run_ids = sorted([await first.start("two"), await first.start("two")])
    await first.cancel(*run_ids)
    async with first.conn.transaction():
        assert await first.retry(run_ids[1]) == ["retried"]
        retrying = asyncio.create_task(second.retry(*reversed(run_ids)))
        await someone_waits(conn)
    assert await retrying == ["retried", "started"]
    assert [(await first.run(run_id)).revision for run_id in run_ids] == [3, 3]
    await _finish(first, *run_ids)


async def test_a_result_that_waits_for_a_retry_is_stale(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    (lease,) = await first.lease(await first.open_session())
    await first.cancel(run_id)
    async with first.conn.transaction():
        await first.retry(run_id)
        recording = asyncio.create_task(second.complete(lease))
        await someone_waits(conn)
    assert await recording == [3]
    await _finish(first, run_id)


async def test_a_flow_whose_run_is_being_retried_has_an_active_run(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    await first.cancel(run_id)
    async with first.conn.transaction():
        await first.retry(run_id)
        deleting = asyncio.create_task(call(second.conn, "delete_flow", "two"))
        await someone_waits(conn)
    with pytest.raises(psycopg.errors.DatabaseError, match="1 active run"):
        await deleting
    await _finish(first, run_id)


async def test_a_run_whose_flow_is_being_deleted_is_unknown(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    await first.cancel(run_id)
    async with first.conn.transaction():
        await call(first.conn, "delete_flow", "two")
        retrying = asyncio.create_task(second.retry(run_id))
        await someone_waits(conn)
    assert await retrying == []
    assert await second.retry(run_id) == []
    assert (await first.run(run_id)).status == "cancelled"


async def test_a_run_that_is_being_pruned_is_unknown(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    await first.cancel(run_id)
    async with first.conn.transaction():
        assert await call_one(first.conn, "prune_ended_runs", -1.0) == 1
        retrying = asyncio.create_task(second.retry(run_id))
        await someone_waits(conn)
    assert await retrying == []


async def test_a_retried_run_is_not_pruned_and_keeps_its_key(engines: list[Transitions]) -> None:
    first, second = engines
    ((run_id, *_),) = [(row.run_id,) for row in await first.start_runs([("two", {}, "key")])]
    await first.cancel(run_id)
    async with first.conn.transaction():
        await first.retry(run_id)
        assert await call_one(second.conn, "prune_ended_runs", -1.0) == 0
    assert await call_one(second.conn, "prune_ended_runs", -1.0) == 0
    (again,) = await first.start_runs([("two", {}, "key")])
    assert (again.run_id, again.verdict, again.status) == (run_id, "existing", "started")
    await _finish(first, run_id)


async def test_the_routes_of_a_scope_that_were_forgotten_come_back(engines: list[Transitions]) -> None:
    first, _ = engines
    run_id = await first.start("two", scope="mine")
    await first.complete(*await first.lease(await first.open_session()))
    await first.cancel(run_id)
    await first.rows("update pgflow.routes set used_at = used_at - interval '11 minutes'")
    assert await call_one(first.conn, "prune_names") > 0
    assert await values(first.conn, "select count(*) from pgflow.routes where scope = 'mine'") == [0]
    await first.retry(run_id)
    await _finish(first, run_id)


async def test_routes_of_a_scope_stay_while_a_run_in_it_is_being_retried(engines: list[Transitions]) -> None:
    first, second = engines
    run_id = await first.start("two", scope="mine")
    await first.cancel(run_id)
    await first.rows("update pgflow.routes set used_at = used_at - interval '11 minutes'")
    async with first.conn.transaction():
        await first.retry(run_id)
        assert await call_one(second.conn, "prune_names") == 0
    assert await call_one(second.conn, "prune_names") == 0
    await _finish(first, run_id)


async def test_the_run_of_a_plan_goes_on_although_plans_are_pruned(engines: list[Transitions]) -> None:
    first, _ = engines
    plan = f"plan:{7:032x}"
    step = {"slug": "s", "step_type": "single", "depends_on": [], "handler": "h", "params": {}}
    definition = json.dumps({"max_attempts": 3, "timeout_s": 30, "steps": [step]})
    await call(first.conn, "define_plans", [plan], [definition])
    run_id = await first.start(plan)
    await first.cancel(run_id)
    await first.rows("update pgflow.workflows set prune_at = prune_at - interval '11 minutes'")
    await call_one(first.conn, "prune_plans")
    assert await first.retry(run_id) == ["retried"]
    await _finish(first, run_id)
