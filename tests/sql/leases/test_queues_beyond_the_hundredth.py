"""The first hundred queues have functions of their own that keep their plans; the others work the same without."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.transitions import Transitions

Conn = psycopg.AsyncConnection[Any]


async def _functions(conn: Conn) -> list[str]:
    cursor = await conn.execute(
        "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and proname ~ '_[0-9]+$' order by 1"
    )
    return [name for (name,) in await cursor.fetchall()]


async def test_one_batch_goes_through_both_kinds(conn: Conn) -> None:
    engine = Transitions(conn)
    await engine.define("near", a=[], b=["a"])
    await conn.execute("alter table pgflow.queues alter queue_id restart with 101")
    await engine.define("far", a=[], b=["a"])
    assert await _functions(conn) == ["send_1", "send_2", "take_1", "take_2"]
    started = await engine.start_runs([("near" if n % 2 else "far", n, None) for n in range(10)])
    session = await engine.open_session()
    for _ in range(2):
        leases = await engine.lease(session, 7)
        leases += await engine.lease(session, 7)
        assert {lease.run_id for lease in leases} == {row.run_id for row in started}
        assert await engine.complete(*leases) == [1] * 10
    await engine.assert_invariants()
    statuses = await engine.rows("select distinct status from pgflow.runs")
    assert [row.status for row in statuses] == ["completed"]


async def test_the_functions_go_with_their_queue(conn: Conn) -> None:
    engine = Transitions(conn)
    await engine.define("one", a=[])
    await conn.execute("select pgflow.delete_flow('one')")
    assert await _functions(conn) == ["send_1", "take_1"]
