"""pgflow.cancel_runs beside transactions that have the run already."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.sql import someone_waits, values
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


async def test_a_run_ends_after_what_ended_in_it_while_the_cancel_waited(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    (lease,) = await first.lease(await first.open_session())
    async with first.conn.transaction():
        await first.rows("select 1 from pgflow.runs where run_id = %s for no key update", run_id)
        cancelling = asyncio.create_task(second.cancel(run_id))
        await someone_waits(conn)
        assert await first.complete(lease) == [1]
    assert await cancelling == [True]
    assert await first.states(run_id) == {"a": "completed", "b": "cancelled"}
    late = "select s.step_index from pgflow.step_states as s join pgflow.runs as r using (run_id)"
    assert await values(conn, late + " where s.status = 'completed' and s.completed_at > r.completed_at") == []


async def test_a_run_that_ends_while_the_cancel_waits_is_not_cancelled(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await first.start("two")
    session = await first.open_session()
    await first.complete(*await first.lease(session))
    (last,) = await first.lease(session)
    async with first.conn.transaction():
        await first.complete(last)
        cancelling = asyncio.create_task(second.cancel(run_id))
        await someone_waits(conn)
    assert await cancelling == [False]
    assert (await first.run(run_id)).status == "completed"


async def test_of_two_cancels_one_counts(engines: list[Transitions], conn: psycopg.AsyncConnection[Any]) -> None:
    first, second = engines
    run_ids = sorted([await first.start("two"), await first.start("two")])
    async with first.conn.transaction():
        assert await first.cancel(run_ids[1]) == [True]
        cancelling = asyncio.create_task(second.cancel(*reversed(run_ids)))
        await someone_waits(conn)
    assert await cancelling == [True, False]
    assert [(await first.run(run_id)).revision for run_id in run_ids] == [2, 2]
