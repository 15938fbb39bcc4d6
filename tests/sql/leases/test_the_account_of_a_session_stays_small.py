"""What was handed out is written down in batches, which shrink with what is held; see 0004_sessions.sql."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.plans import explained
from tests.support.transitions import Lease, Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    yield engine
    await engine.assert_invariants()


async def _handed_out(engine: Transitions, count: int) -> tuple[UUID, list[Lease]]:
    await engine.start_many("one", count)
    session = await engine.open_session()
    return session, await engine.lease(session, count)


async def _compared(engine: Transitions, session: UUID) -> set[UUID]:
    rows = await engine.rows("select run_id from pgflow.leases_of_sessions(array[%s]::uuid[])", session)
    assert len(rows) == len({row.run_id for row in rows})
    return {row.run_id for row in rows}


async def _sizes(engine: Transitions) -> list[int]:
    rows = await engine.rows("select cardinality(run_ids) as n from pgflow.lease_batches order by batch_id")
    return [row.n for row in rows]


async def test_a_batch_of_which_most_is_held_stays_as_it_is(engine: Transitions) -> None:
    session, leased = await _handed_out(engine, 10)
    await engine.complete(*leased[:4])
    assert await _compared(engine, session) == {lease.run_id for lease in leased[4:]}
    assert await _sizes(engine) == [10]


async def test_thin_batches_become_one(engine: Transitions) -> None:
    session, first = await _handed_out(engine, 10)
    await engine.start_many("one", 6)
    second = await engine.lease(session, 6)
    await engine.complete(*first[:6], *second[:5])
    held = {lease.run_id for lease in (*first[6:], *second[5:])}
    assert await _compared(engine, session) == held
    assert await _sizes(engine) == [5]
    assert await _compared(engine, session) == held


async def test_nothing_is_left_of_what_is_over(engine: Transitions) -> None:
    session, leased = await _handed_out(engine, 10)
    await engine.complete(*leased)
    assert await _compared(engine, session) == set()
    assert await _sizes(engine) == []


async def test_a_task_that_comes_again_is_held_once(engine: Transitions) -> None:
    session, leased = await _handed_out(engine, 3)
    await engine.record((leased[0], 4, None))
    (again,) = await engine.lease(session)
    assert again.run_id == leased[0].run_id
    assert await _compared(engine, session) == {lease.run_id for lease in leased}
    (counted,) = await engine.rows("select task_count from pgflow.count_leases(array[%s]::uuid[])", session)
    assert counted.task_count == 3
    assert await engine.close(session, lost=True) == 3


async def test_a_session_that_has_ended_leaves_no_account(engine: Transitions) -> None:
    session, leased = await _handed_out(engine, 5)
    await engine.complete(*leased[:1])
    assert await engine.close(session, lost=False) == 4
    assert await _sizes(engine) == []


async def test_two_comparisons_at_once_lose_and_double_nothing(engine: Transitions, database: str) -> None:
    session, leased = await _handed_out(engine, 10)
    await engine.complete(*leased[:7])
    held = {lease.run_id for lease in leased[7:]}
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        async with engine.conn.transaction():
            assert await _compared(engine, session) == held
            assert await _compared(Transitions(other), session) == held
        assert await _compared(Transitions(other), session) == held
    assert await _sizes(engine) == [3]


@pytest.mark.parametrize("done", [0, 1], ids=["held", "thin"])
@pytest.mark.parametrize("statistics", ["never", "empty", "full"])
async def test_many_small_batches_are_not_compared_with_each_other(
    engine: Transitions, statistics: str, done: int
) -> None:
    """Ten thousand tasks that came one by one and wait for something are ten thousand batches."""
    count = 200
    session, other = await engine.open_session(), await engine.open_session()
    if statistics == "empty":
        await engine.conn.execute("analyze")
    await engine.start_many("one", count * (1 + done))
    held: set[UUID] = set()
    for n in range(count):
        lease, *over = await engine.lease((session, other)[n % 2], 1 + done)
        held.add(lease.run_id)
        if over:
            await engine.complete(*over)
    if statistics == "full":
        await engine.conn.execute("analyze")
    async with explained(engine.conn) as statements:
        rows = await engine.rows("select * from pgflow.leases_of_sessions(%s::uuid[])", [session, other])
    assert {row.run_id for row in rows} == held
    assert await _sizes(engine) == ([count // 2] * 2 if done else [1] * count)
    assert sum(statement.rows for statement in statements) < 60 * count
