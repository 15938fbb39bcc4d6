"""Hand-backs burn no attempt, and a worker that hands back whatever it gets cannot spin."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.transitions import Transitions


async def _release(engine: Transitions, outcome: int) -> float:
    await engine.promote()
    (lease,) = await engine.lease(await engine.open_session())
    assert lease.attempt == 1
    await engine.record((lease, outcome, None))
    await engine.assert_invariants()
    (task,) = await engine.rows(
        "select coalesce(extract(epoch from available_at - queued_at)::float8, 0) as delay from pgflow.step_tasks"
    )
    return float(task.delay)


async def test_the_delay_doubles_from_a_second_to_a_minute(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", max_attempts=1, work=[])
    await engine.start("one")
    assert [await _release(engine, 3) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_what_was_never_delivered_goes_back_at_once(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", max_attempts=1, work=[])
    await engine.start("one")
    assert [await _release(engine, 4) for _ in range(3)] == [0, 0, 0]


async def test_a_result_ends_the_row_of_hand_backs(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", max_attempts=9, work=[])
    await engine.start("one")
    assert [await _release(engine, 3) for _ in range(3)] == [1, 2, 4]
    await engine.promote()
    (lease,) = await engine.lease(await engine.open_session())
    await engine.record((lease, 2, "broken"))
    (task,) = await engine.rows("select releases from pgflow.step_tasks")
    assert task.releases == 0
