"""A lease may say from which message on it looks at a route: what stands before stays where it is."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.plans import explained
from tests.support.transitions import Transitions

Conn = psycopg.AsyncConnection[Any]


async def _two_routes(conn: Conn) -> tuple[Transitions, dict[str, int], dict[str, list[int]]]:
    """Four runs of a flow with two first steps; each route's id, and the messages that wait there."""
    engine = Transitions(conn)
    await engine.define("flow", a=[], b=[])
    await engine.start_many("flow", 4)
    routes = {r.handler[-1]: r.route_id for r in await engine.rows("select route_id, handler from pgflow.routes")}
    messages = {name: await _waiting(engine, route_id) for name, route_id in routes.items()}
    return engine, routes, messages


async def _waiting(engine: Transitions, route_id: int) -> list[int]:
    rows = await engine.rows("select msg_id from pgmq.q_pgflow_2 where message->>'k' = %s order by 1", str(route_id))
    return [row.msg_id for row in rows]


async def test_what_stands_before_the_beginning_of_its_route_stays(conn: Conn) -> None:
    engine, routes, messages = await _two_routes(conn)
    session = await engine.open_session()
    begin = [messages["b"][3], messages["a"][1]]
    assert len(await engine.lease(session, routes=[routes["b"], routes["a"]], from_ids=begin)) == 1 + 3
    assert await _waiting(engine, routes["b"]) == messages["b"][:3]
    assert await _waiting(engine, routes["a"]) == messages["a"][:1]
    assert len(await engine.lease(session)) == 4


async def test_what_goes_first_is_found_in_any_case(conn: Conn) -> None:
    engine, routes, _ = await _two_routes(conn)
    gone = await engine.open_session()
    taken = await engine.lease(gone, 2, routes=[routes["a"]])
    await engine.close(gone, lost=False)
    session = await engine.open_session()
    leased = await engine.lease(session, routes=[routes["a"]], from_ids=[1_000_000])
    assert {lease.run_id for lease in leased} == {lease.run_id for lease in taken}


@pytest.mark.parametrize("queue", ["its own functions", "none"])
async def test_no_statistics_make_it_read_the_queue_by_number(conn: Conn, queue: str) -> None:
    """Three rows are left of a great backlog when the queue is analysed, and its index is as large as ever."""
    engine = Transitions(conn)
    if queue == "none":
        await conn.execute("alter table pgflow.queues alter queue_id restart with 101")
    await engine.define("flow", a=[], b=[])
    await engine.start_many("flow", 1)
    (route,) = await engine.rows("select route_id, queue_id from pgflow.routes order by handler limit 1")
    table = f"pgmq.q_pgflow_{int(route.queue_id)}"
    await conn.execute(
        f"insert into {table} (vt, message) select now(), jsonb_build_object('k', 1000 + n % 7, 'r', gen_random_uuid(),"
        f" 's', 0, 'i', 0) from generate_series(1, 50000) as n"
    )
    await conn.execute(f"delete from {table} where msg_id > 3")
    await conn.execute(f"vacuum analyze {table}")
    session = await engine.open_session()
    async with explained(conn) as statements:
        await engine.lease(session, 1, routes=[route.route_id], from_ids=[1])
    (take,) = [statement for statement in statements if f"delete from {table}" in statement.text]
    found = [scan for scan in take.scans if scan.condition and "message" in scan.condition]
    assert [scan.index for scan in found] == [f"q_pgflow_{route.queue_id}_by_route"]
