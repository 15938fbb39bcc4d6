"""Tasks that go back by no fault of theirs stand in front of their route's backlog; failed ones stand behind it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions

_UNDELIVERED = 4


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.start_many("one", 5)
    yield engine
    await engine.assert_invariants()


async def _back_of_the_line(engine: Transitions, session: UUID) -> list[Lease]:
    first = await engine.lease(session, 2)
    await engine.start_many("one", 5)
    return first


async def _next(engine: Transitions, count: int) -> set[UUID]:
    return {lease.run_id for lease in await engine.lease(await engine.open_session(), count)}


async def test_tasks_of_a_session_that_vanished(engine: Transitions) -> None:
    session = await engine.open_session()
    taken = await _back_of_the_line(engine, session)
    await engine.close(session, lost=True)
    assert await _next(engine, 2) == {lease.run_id for lease in taken}


async def test_tasks_that_never_arrived(engine: Transitions) -> None:
    taken = await _back_of_the_line(engine, await engine.open_session())
    await engine.record(*((lease, _UNDELIVERED, None) for lease in taken))
    assert await _next(engine, 2) == {lease.run_id for lease in taken}


async def test_a_failed_task_lets_the_others_go_first(engine: Transitions) -> None:
    taken = await _back_of_the_line(engine, await engine.open_session())
    await engine.record(*((lease, 2, "broken") for lease in taken))
    assert await _next(engine, 8) & {lease.run_id for lease in taken} == set()
    assert await _next(engine, 2) == {lease.run_id for lease in taken}


async def test_where_only_such_tasks_wait_their_route_is_ready_and_counted(engine: Transitions) -> None:
    session = await engine.open_session()
    await engine.lease(session)
    await engine.close(session, lost=False)
    ready = await engine.rows("select * from pgflow.ready_routes()")
    routes = await engine.rows("select route_id, queue_id from pgflow.routes")
    assert ready == [(routes[0].route_id, None)]
    (queue,) = await engine.rows("select * from pgflow.read_queue(%s)", routes[0].queue_id)
    assert (queue.depth, queue.unserved_count, queue.unserved_steps) == (5, 1, ["one.work"])
    assert [route["task_count"] for route in queue.unserved] == [5]


async def test_a_queue_of_both_kinds_counts_a_route_once(engine: Transitions) -> None:
    session = await engine.open_session()
    await engine.lease(session, 2)
    await engine.close(session, lost=False)
    (route,) = await engine.rows("select route_id, queue_id from pgflow.routes")
    (first,) = await engine.rows(
        f"select min(msg_id) as id from pgmq.q_pgflow_{int(route.queue_id)} where (message->>'k')::int > 0"
    )
    assert await engine.rows("select * from pgflow.ready_routes()") == [(route.route_id, first.id)]
    (queue,) = await engine.rows("select * from pgflow.read_queue(%s)", route.queue_id)
    assert (queue.unserved_count, [each["task_count"] for each in queue.unserved]) == (1, [5])
