"""What runs every second or so reads what it is about, not the history, whatever the statistics say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.plans import Statement, explained
from tests.support.transitions import Transitions

_BIG = {"runs", "step_states", "step_tasks", "task_errors"}

_CALLS: dict[str, Callable[[Transitions, Any], Any]] = {
    "sweep": lambda engine, _: engine.rows("select pgflow.sweep_sessions()"),
    "promote": lambda engine, _: engine.rows("select pgflow.promote_tasks()"),
    "expand": lambda engine, _: engine.rows("select pgflow.expand_maps()"),
    "prune names": lambda engine, _: engine.rows("select pgflow.prune_names()"),
    "ready routes": lambda engine, _: engine.rows("select pgflow.ready_routes()"),
    "leases": lambda engine, session: engine.rows(
        "select * from pgflow.leases_of_sessions(array[%s]::uuid[])", session
    ),
    "count": lambda engine, session: engine.rows("select * from pgflow.count_leases(array[%s]::uuid[])", session),
    "close": lambda engine, session: engine.close(session, lost=True),
    "progress": lambda engine, session: engine.rows(
        "select pgflow.record_progress(array_agg(run_id), array_agg(step_index), array_agg(task_index),"
        " array_agg(lease_seq), array_agg(session_id), array_agg(0.5::real), array_agg('half'::text))"
        " from pgflow.leases_of_sessions(array[%s]::uuid[])", session
    ),
}  # fmt: skip


async def _fill(engine: Transitions, *, analyze: bool) -> Any:
    """A history of 6,000 finished tasks, a few in flight, a few waiting, a map of 3,000."""
    await engine.define("old", maps=["m"], m=[])
    await engine.define("one", base_delay_s=0, work=[])
    session = await engine.open_session()
    for _ in range(6):
        await engine.start("old", list(range(1000)))
    await engine.complete(*await engine.lease(session, 10_000))
    # As its coordinator does every few seconds.
    await engine.rows("select pgflow.leases_of_sessions(array[%s]::uuid[])", session)
    if analyze:
        await engine.conn.execute("analyze")
    await engine.start("old", json.dumps(list(range(3000))))
    await engine.start_many("one", 30)
    (route,) = await engine.rows("select route_id from pgflow.routes where handler = 'one.work'")
    leased = await engine.lease(session, 20, routes=[route.route_id])
    await engine.record(*((lease, 2, "broken") for lease in leased[:5]), retry_after_ms=1)
    # Retries that are due, five of them in a run with many more tasks.
    (route,) = await engine.rows("select route_id from pgflow.routes where handler = 'old.m'")
    broken = await engine.lease(await engine.open_session(), 5, routes=[route.route_id])
    await engine.record(*((lease, 2, "broken") for lease in broken), retry_after_ms=1)
    await engine.rows("update pgflow.step_tasks set available_at = pgflow.now() where available_at is not null")
    (route,) = await engine.rows("select route_id from pgflow.routes where handler = 'one.work'")
    over = await engine.open_session(lease_ms=-1)
    await engine.lease(over, 5, routes=[route.route_id])
    return session


@pytest.mark.parametrize("analyze", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", _CALLS)
async def test_upkeep_does_not_read_the_history(conn: psycopg.AsyncConnection[Any], call: str, analyze: bool) -> None:
    engine = Transitions(conn)
    session = await _fill(engine, analyze=analyze)
    async with explained(conn) as statements:
        await _CALLS[call](engine, session)
    read: list[Statement] = [s for s in statements if any(scan.table in _BIG for scan in s.scans)]
    assert read or call == "prune names"
    for statement in read:
        for scan in statement.scans:
            assert scan.index is not None or scan.table not in _BIG, statement.text
            # The chunk of the map is 2,000 rows; nothing else here is about more than a few dozen.
            assert scan.rows <= (2500 if call == "expand" else 200) or scan.table not in _BIG, (scan, statement.text)


@pytest.mark.parametrize("planned", ["now", "while tables were small"])
async def test_what_is_held_is_found_from_what_was_handed_out(conn: psycopg.AsyncConnection[Any], planned: str) -> None:
    """A plan stays when the tables have grown: one that begins with all tasks reads them once for each batch."""
    engine = Transitions(conn)
    await engine.define("one", work=[])

    async def end_all(count: int) -> None:
        sessions = [await engine.open_session() for _ in range(2)]
        await engine.start_many("one", count)
        for n in range(count):
            await engine.lease(sessions[n % 2], 1)
        await engine.rows("select * from pgflow.count_leases(%s::uuid[])", sessions)
        await engine.rows("select * from pgflow.leases_of_sessions(%s::uuid[])", sessions)
        await engine.close(sessions[0], lost=False)
        await engine.rows("update pgflow.sessions set lease_until = pgflow.now() - interval '1 s'")
        await engine.rows("select pgflow.sweep_sessions()")

    if planned != "now":
        await end_all(2)
    await engine.start_many("one", 2000)
    session = await engine.open_session()
    await engine.complete(*await engine.lease(session, 3000))
    await engine.close(session, lost=False)
    async with explained(conn) as statements:
        await end_all(100)
    for statement in statements:
        if "lease_batches" in statement.text or "lease_entries" in statement.text:
            assert statement.rows < 100 * 40, (statement.rows, statement.text)
