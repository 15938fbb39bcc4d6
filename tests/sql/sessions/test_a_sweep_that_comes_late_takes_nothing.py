"""A sweep that hung on its way must not be the first to run when the database goes on."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.transitions import Transitions


async def test_a_sweep_that_comes_late_takes_nothing(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.start("one")
    session = await engine.open_session(lease_ms=5000)
    await engine.lease(session)
    await engine.rows("select set_config('pgflow.now', (clock_timestamp() + interval '10 seconds')::text, false)")

    async def sweep(heard_s: float) -> list[Any]:
        query = (
            "select s from pgflow.sweep_sessions("
            "p_heard_at => pgflow.now() - make_interval(secs => %s), p_max_silence_ms => 7500) as s"
        )
        return [row.s for row in await engine.rows(query, heard_s)]

    assert await sweep(7.6) == []
    assert await engine.rows("select from pgflow.sessions where closed_at is not null") == []
    assert await sweep(7.5) == [session]
    await engine.assert_invariants()
