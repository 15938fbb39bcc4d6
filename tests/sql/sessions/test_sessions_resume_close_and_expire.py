"""Sessions: who may resume, what goes back, and what a late call of an old epoch does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    yield engine
    await engine.assert_invariants()


async def _resume(engine: Transitions, session: UUID, held: Sequence[Lease] = (), secret: str = "secret") -> list[Any]:
    return await engine.rows(
        "select * from pgflow.resume_session(%s, %s, %s, 60000, 0, %s::uuid[], %s::smallint[], %s::int[], %s::int[])",
        session, secret.encode(), uuid4(),
        [lease.run_id for lease in held], [lease.step_index for lease in held],
        [lease.task_index for lease in held], [lease.lease_seq for lease in held],
    )  # fmt: skip


async def _renew(engine: Transitions, session: UUID, epoch: int) -> bool:
    return bool(await engine.rows("select pgflow.renew_sessions(array[%s]::uuid[], array[%s], 60000)", session, epoch))


async def _sweep(engine: Transitions) -> list[UUID]:
    return [row.s for row in await engine.rows("select s from pgflow.sweep_sessions() as s")]


async def _set_clock(engine: Transitions, seconds: float) -> None:
    await engine.rows(
        "select set_config('pgflow.now', (clock_timestamp() + make_interval(secs => %s))::text, false)", seconds
    )


async def test_a_resumed_session_keeps_what_it_lists_and_gives_back_the_rest(engine: Transitions) -> None:
    await engine.start_many("one", 5)
    session = await engine.open_session()
    leased = await engine.lease(session)
    rows = await _resume(engine, session, leased[:2])
    assert {row.epoch for row in rows} == {2}
    assert sorted(row.held_item for row in rows if row.held_item) == [1, 2]
    assert len(await engine.messages()) == 3
    assert await engine.complete(*leased) == [1, 1, 3, 3, 3]
    lost = await engine.rows("select lost_leases + failures + releases as n from pgflow.step_tasks")
    assert [row.n for row in lost] == [0] * 5


async def test_a_lease_that_is_over_is_not_held_by_listing_it(engine: Transitions) -> None:
    run_id = await engine.start("one")
    session = await engine.open_session()
    leased = await engine.lease(session)
    await engine.cancel(run_id)
    rows = await _resume(engine, session, leased)
    assert [row.held_item for row in rows] == [None]


async def test_a_resume_needs_the_secret(engine: Transitions) -> None:
    await engine.start("one")
    session = await engine.open_session()
    leased = await engine.lease(session)
    assert await _resume(engine, session, secret="guessed") == []
    assert await engine.complete(*leased) == [1]


async def test_a_closed_session_is_not_resumed(engine: Transitions) -> None:
    session = await engine.open_session()
    await engine.close(session, lost=False)
    assert await _resume(engine, session) == []


async def test_an_expired_session_that_nobody_swept_is_resumed(engine: Transitions) -> None:
    await engine.start("one")
    session = await engine.open_session(lease_ms=0)
    leased = await engine.lease(session)
    assert len(await _resume(engine, session, leased)) == 2
    assert await _sweep(engine) == []
    assert await engine.complete(*leased) == [1]


async def test_an_old_epoch_neither_renews_nor_closes(engine: Transitions) -> None:
    session = await engine.open_session()
    await _resume(engine, session)
    assert not await _renew(engine, session, 1)
    assert await _renew(engine, session, 2)
    assert await engine.close(session, lost=True) == 0
    assert await _renew(engine, session, 2)


async def test_a_renewed_session_is_not_swept(engine: Transitions) -> None:
    session = await engine.open_session(lease_ms=0)
    assert await _renew(engine, session, 1)
    assert await _sweep(engine) == []


@pytest.mark.parametrize(("lost", "losses"), [(False, 0), (True, 1)])
async def test_goodbye_counts_no_loss_and_vanishing_counts_one(engine: Transitions, lost: bool, losses: int) -> None:
    await engine.start_many("one", 3)
    session = await engine.open_session()
    await engine.lease(session)
    assert await engine.close(session, lost=lost) == 3
    rows = await engine.rows("select lost_leases, available_at from pgflow.step_tasks")
    assert [tuple(row) for row in rows] == [(losses, None)] * 3
    errors = await engine.rows("select code from pgflow.task_errors")
    assert [row.code for row in errors] == ["LEASE_LOST"] * 3 * losses


async def test_a_second_loss_waits_so_that_tasks_part_company(engine: Transitions) -> None:
    await engine.start_many("one", 20)
    for _ in range(2):
        session = await engine.open_session()
        await engine.lease(session)
        await engine.close(session, lost=True)
    delays = await engine.rows(
        "select extract(epoch from available_at - queued_at)::float8 as s from pgflow.step_tasks"
    )
    assert all(0.5 <= row.s <= 1 for row in delays)
    assert len({row.s for row in delays}) > 10


async def test_too_many_losses_end_the_run_and_the_error_tells_the_attempt(engine: Transitions) -> None:
    run_id = await engine.start("one")
    (lease,) = await engine.lease(await engine.open_session())
    await engine.record((lease, 2, "broken"))
    session = await engine.open_session()
    await engine.lease(session)
    await engine.close(session, lost=True, max_lost_leases=0)
    run = await engine.run(run_id)
    assert (run.status, run.error_code, run.error_attempt) == ("failed", "LEASE_LOST", 2)


async def test_ended_sessions_are_forgotten_after_ten_minutes(engine: Transitions) -> None:
    session = await engine.open_session()
    await engine.close(session, lost=False)
    await _set_clock(engine, 590)
    await _sweep(engine)
    assert await engine.rows("select * from pgflow.sessions")
    await _set_clock(engine, 610)
    await _sweep(engine)
    assert not await engine.rows("select * from pgflow.sessions")


async def test_a_session_with_a_task_is_not_forgotten_before_it_is_back(engine: Transitions) -> None:
    await engine.start("one")
    session = await engine.open_session()
    await engine.lease(session)
    # As a lease leaves it that was under way while its session ended.
    await engine.rows("update pgflow.sessions set closed_at = pgflow.now()")
    await _set_clock(engine, 3600)
    await _sweep(engine)
    assert len(await engine.messages()) == 1
    await _sweep(engine)
    assert not await engine.rows("select * from pgflow.sessions")


async def test_the_database_lists_what_a_session_holds(engine: Transitions) -> None:
    await engine.start_many("one", 3)
    session = await engine.open_session()
    leased = await engine.lease(session)
    await engine.complete(leased[0])
    rows = await engine.rows("select * from pgflow.leases_of_sessions(array[%s]::uuid[])", session)
    assert {(row.run_id, row.lease_seq) for row in rows} == {(lease.run_id, lease.lease_seq) for lease in leased[1:]}


async def test_ten_thousand_held_tasks_are_resumed_in_one_pass(conn: psycopg.AsyncConnection[Any]) -> None:
    """The list of a session's tasks is matched by hash: pair by pair this took longer than a lock may be held."""
    engine = Transitions(conn)
    await engine.define("many", maps=["m"], m=[])
    for _ in range(10):
        await engine.start("many", list(range(1000)))
    session = await engine.open_session()
    leased = await engine.lease(session, 10_000)
    await conn.execute("set statement_timeout = '3s'")
    assert len(await _resume(engine, session, leased)) == 10_001
