"""What a handler reports is kept for the lease that holds the task, and for none before it."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.transitions import Lease, Transitions


async def _report(engine: Transitions, lease: Lease, message: str) -> None:
    await engine.rows(
        "select pgflow.record_progress(array[%s]::uuid[], array[%s]::smallint[], array[%s]::int[], array[%s]::int[],"
        "                              array[%s]::uuid[], array[0.5]::real[], array[%s])",
        *(lease.run_id, lease.step_index, lease.task_index, lease.lease_seq, lease.session_id, message),
    )


async def _messages(engine: Transitions) -> list[str]:
    return [row.message for row in await engine.rows("select message from pgflow.task_progress")]


async def test_a_late_report_of_the_same_session_changes_nothing(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.start("one")
    session = await engine.open_session()
    (first,) = await engine.lease(session)
    await engine.record((first, 3, None))
    await engine.promote()
    (second,) = await engine.lease(session)

    await _report(engine, first, "late")
    assert await _messages(engine) == []
    await _report(engine, second, "in time")
    assert await _messages(engine) == ["in time"]
    await _report(engine, first, "late")
    assert await _messages(engine) == ["in time"]
