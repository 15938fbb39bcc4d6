"""Lost leases: back at once the first time, later with a delay, and an end after too many."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.transitions import Transitions


async def _lose(engine: Transitions) -> int:
    session = await engine.open_session()
    await engine.rows("update pgflow.step_tasks set available_at = pgflow.now() where available_at is not null")
    await engine.rows("select pgflow.promote_tasks()")
    (lease,) = await engine.lease(session)
    await engine.rows("select pgflow.close_sessions(array[%s]::uuid[], array[1], true, 3)", session)
    await engine.assert_invariants()
    return lease.attempt


async def test_the_first_loss_is_free_then_it_waits_and_the_fourth_is_the_end(
    conn: psycopg.AsyncConnection[Any],
) -> None:
    engine = Transitions(conn)
    await engine.define("one", max_attempts=1, work=[])
    run_id = await engine.start("one")
    waits = []
    for _ in range(3):
        assert await _lose(engine) == 1
        (task,) = await engine.rows("select available_at, lost_leases, failures from pgflow.step_tasks")
        assert task.failures == 0
        waits.append(task.available_at is not None)
    assert waits == [False, True, True]
    await _lose(engine)
    run = await engine.run(run_id)
    assert (run.status, run.error_code) == ("failed", "LEASE_LOST")


async def test_an_expired_session_is_swept_and_its_late_result_is_stale(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.start("one")
    session = await engine.open_session(lease_ms=0)
    (lease,) = await engine.lease(session)
    (swept,) = await engine.rows("select s::text as id from pgflow.sweep_sessions() as s")
    assert swept.id == str(session)
    assert await engine.complete(lease) == [3]
    await engine.assert_invariants()


async def test_a_session_that_moved_on_is_not_closed_by_its_old_epoch(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    session = await engine.open_session()
    rows = await engine.rows(
        "select epoch from pgflow.resume_session(%s, 'secret', %s, 60000, 0, '{}', '{}', '{}', '{}')", session, session
    )
    assert [row.epoch for row in rows] == [2]
    await engine.rows("select pgflow.close_sessions(array[%s]::uuid[], array[1], true)", session)
    (row,) = await engine.rows("select closed_at from pgflow.sessions")
    assert row.closed_at is None


async def test_no_attempt_begins_before_the_last_one_ended(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.start("one")
    session = await engine.open_session()
    (lease,) = await engine.lease(session)
    await engine.record((lease, 2, "broken"))
    # As if the clock had been read, and then the failure been committed that made the task ready.
    await engine.rows("select set_config('pgflow.now', (clock_timestamp() - interval '5 s')::text, false)")
    await engine.lease(session)
    (times,) = await engine.rows(
        "select t.started_at, e.failed_at from pgflow.step_tasks as t, pgflow.task_errors as e"
    )
    assert times.started_at >= times.failed_at
