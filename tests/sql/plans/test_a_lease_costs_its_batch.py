"""What stands in front of a task in the queue, or beside it in the tables, costs a lease nothing: counted in rows."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.plans import explained
from tests.support.transitions import Lease, Transitions

_FOREIGN = """
    insert into pgmq.q_pgflow_2 (vt, message)
    select now(), jsonb_build_object('k', %s::int, 'r', gen_random_uuid(), 's', 0, 'i', 0)
    from generate_series(1, %s)"""


async def _engine(conn: psycopg.AsyncConnection[Any]) -> tuple[Transitions, int, int]:
    engine = Transitions(conn)
    await engine.define("two", theirs=[], ours=[])
    await engine.start_many("two", 1)
    theirs, ours = await engine.rows("select route_id from pgflow.routes order by handler = 'two.ours'")
    return engine, theirs.route_id, ours.route_id


async def _cost(
    engine: Transitions, route: int, credits: int, *, from_id: int | None = None
) -> tuple[list[Lease], int, int]:
    session = await engine.open_session()
    async with explained(engine.conn) as statements:
        leased = await engine.lease(session, credits, routes=[route], from_ids=[from_id] if from_id else None)
    rows = sum(scan.rows for statement in statements for scan in statement.scans)
    (take,) = [statement for statement in statements if "delete from pgmq.q_pgflow_" in statement.text]
    return leased, rows, take.buffers


@pytest.mark.parametrize("statistics", ["never", "before", "after"])
async def test_a_foreign_backlog_costs_nothing(conn: psycopg.AsyncConnection[Any], statistics: str) -> None:
    engine, theirs, ours = await _engine(conn)
    if statistics == "before":
        await conn.execute("analyze")
    await conn.execute(_FOREIGN, (theirs, 30_000))
    await engine.start_many("two", 50)
    if statistics == "after":
        await conn.execute("analyze")
    leased, rows, buffers = await _cost(engine, ours, 50)
    assert len(leased) == 50
    assert rows < 50 * 12
    assert buffers < 200


async def test_what_went_before_costs_nothing_behind_the_first_that_waits(conn: psycopg.AsyncConnection[Any]) -> None:
    """The dead index entries of what was leased stay until a vacuum, and longer under an old snapshot."""
    engine, _, ours = await _engine(conn)
    await conn.execute(_FOREIGN, (ours, 30_000))
    async with await psycopg.AsyncConnection.connect(conn.info.dsn) as dump:
        await dump.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await dump.execute("select 1")
        await conn.execute("delete from pgmq.q_pgflow_2")
        await engine.start_many("two", 100)
        seen = {row.route_id: row.first_message_id for row in await engine.rows("select * from pgflow.ready_routes()")}
        leased, _, from_the_start = await _cost(engine, ours, 50)
        assert len(leased) == 50
        leased, _, from_the_first = await _cost(engine, ours, 50, from_id=seen[ours] - 100)
        assert len(leased) == 50
    assert from_the_start > 600, "there was nothing to step over; the test shows nothing"
    assert from_the_first < from_the_start - 300


async def test_a_lease_takes_no_more_rows_than_it_has_credits_for(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, _, ours = await _engine(conn)
    await engine.start_many("two", 2000)
    leased, rows, _ = await _cost(engine, ours, 5)
    assert len(leased) == 5
    assert rows < 100


@pytest.mark.parametrize("statistics", ["never", "analysed"])
async def test_a_result_costs_the_same_whatever_else_its_session_holds(
    conn: psycopg.AsyncConnection[Any], statistics: str
) -> None:
    engine, _, ours = await _engine(conn)
    await engine.start_many("two", 2000)
    session = await engine.open_session()
    if statistics == "analysed":
        await engine.lease(session, 20)
        await conn.execute("analyze")
    leased = await engine.lease(session, 2000, routes=[ours])
    async with explained(conn) as statements:
        assert await engine.complete(*leased[:20]) == [1] * 20
    assert sum(scan.rows for statement in statements for scan in statement.scans) < 20 * 30


async def test_a_beat_touches_no_task(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, _, ours = await _engine(conn)
    await engine.start_many("two", 500)
    session = await engine.open_session()
    await engine.lease(session, 500, routes=[ours])
    async with explained(conn) as statements:
        await engine.rows("select pgflow.renew_sessions(array[%s]::uuid[], array[1], 1000)", session)
    assert {scan.table for statement in statements for scan in statement.scans} == {"sessions"}


async def test_the_promoter_reads_what_is_due_only(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, _, ours = await _engine(conn)
    await engine.start_many("two", 500)
    session = await engine.open_session()
    leased = await engine.lease(session, 500, routes=[ours])
    await engine.record(*((lease, 3, None) for lease in leased))
    await conn.execute(
        "update pgflow.step_tasks set available_at = case when task_index = 0 and run_id = %s then pgflow.now()"
        " else pgflow.now() + interval '1 hour' end where available_at is not null", (leased[0].run_id,),
    )  # fmt: skip
    async with explained(conn) as statements:
        (row,) = await engine.rows("select promoted, next_due_ms from pgflow.promote_tasks()")
    assert row.promoted == 1
    assert row.next_due_ms == pytest.approx(3_600_000, rel=0.01)
    assert sum(scan.rows for statement in statements for scan in statement.scans) < 30


async def test_a_list_of_ready_routes_hops_over_the_backlog(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, theirs, ours = await _engine(conn)
    await conn.execute(_FOREIGN, (theirs, 20_000))
    await conn.execute("analyze")
    async with explained(conn) as statements:
        found = await engine.rows("select * from pgflow.ready_routes()")
    firsts = await engine.rows(
        "select (message->>'k')::int as route_id, min(msg_id) as message_id from pgmq.q_pgflow_2 group by 1"
    )
    assert {row.route_id for row in found} == {theirs, ours}
    assert sorted(found) == sorted(firsts)
    assert sum(scan.rows for statement in statements for scan in statement.scans) < 30


@pytest.mark.parametrize("statistics", ["never", "analysed"])
async def test_a_look_at_a_queue_reads_no_more_than_it_tells(
    conn: psycopg.AsyncConnection[Any], statistics: str
) -> None:
    """Nobody serves its routes: their tasks are counted up to a bound, and none went back."""
    engine, theirs, _ = await _engine(conn)
    await conn.execute(_FOREIGN, (theirs, 20_000))
    if statistics == "analysed":
        await conn.execute("vacuum analyze")
    async with explained(conn) as statements:
        (queue,) = await engine.rows("select * from pgflow.read_queue(2, 100)")
    assert queue.unserved_count == 2
    assert sorted(each["task_count"] for each in queue.unserved) == [1, 1000]
    assert sum(scan.rows for statement in statements for scan in statement.scans) < 3000
