"""Sessions under two connections: what a lease, a resume, a close, a sweep and a renewal do to each other."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.sql import someone_waits, values
from tests.support.transitions import Transitions


@pytest.fixture
async def engines(database: str) -> Any:
    """Two engines on connections of their own, and a flow of one step."""
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(2)]
    engines = [Transitions(conn) for conn in conns]
    await engines[0].define("one", work=[])
    yield engines
    await engines[0].assert_invariants()
    for conn in conns:
        await conn.close()


async def _resume(engine: Transitions, session: UUID, secret: str = "secret") -> list[Any]:
    return await engine.rows(
        "select * from pgflow.resume_session(%s, %s, %s, 60000, 0, '{}', '{}', '{}', '{}')",
        session, secret.encode(), uuid4(),
    )  # fmt: skip


async def _renew(engine: Transitions, *sessions: UUID, epoch: int = 1) -> set[UUID]:
    rows = await engine.rows(
        "select s from pgflow.renew_sessions(%s::uuid[], array_fill(%s, array[%s]), 60000) as s",
        list(sessions), epoch, len(sessions),
    )  # fmt: skip
    return {row.s for row in rows}


async def _sweep(engine: Transitions) -> list[UUID]:
    return [row.s for row in await engine.rows("select s from pgflow.sweep_sessions() as s")]


async def _set_clock(engine: Transitions, seconds: float) -> None:
    await engine.rows(
        "select set_config('pgflow.now', (clock_timestamp() + make_interval(secs => %s))::text, false)", seconds
    )


@pytest.mark.parametrize("expires", [False, True])
async def test_a_lease_that_raced_the_end_comes_back_and_is_no_loss(engines: list[Transitions], expires: bool) -> None:
    first, second = engines
    await first.start("one")
    session = await first.open_session(lease_ms=0 if expires else 60_000)
    async with first.conn.transaction():
        await first.lease(session)
        if expires:
            assert await _sweep(second) == [session]
        else:
            assert await second.close(session, lost=True) == 0
    assert await _sweep(second) == []
    assert len(await first.messages()) == 1
    assert await values(first.conn, "select lost_leases from pgflow.step_tasks") == [0]


async def test_a_session_that_is_over_gets_nothing_even_when_it_is_forgotten(engines: list[Transitions]) -> None:
    first, _ = engines
    await first.start("one")
    over, forgotten, alive = [await first.open_session() for _ in range(3)]
    await first.close(over, lost=True)
    await first.rows("delete from pgflow.sessions where session_id = %s", forgotten)
    assert await first.lease(over) == await first.lease(forgotten) == []
    assert len(await first.lease(alive)) == 1


async def test_credits_of_a_session_that_is_over_are_not_given_to_others(engines: list[Transitions]) -> None:
    first, _ = engines
    await first.start_many("one", 5)
    over, alive = await first.open_session(), await first.open_session()
    await first.close(over, lost=False)
    leased = await first.rows(
        "select l.session_item from pgflow.lease_tasks(array(select route_id from pgflow.routes), %s::uuid[],"
        " array[1, 1], array[4, 2]) as l", [over, alive],
    )  # fmt: skip
    assert [row.session_item for row in leased] == [2, 2]


async def test_leases_that_raced_come_back_though_workers_die_at_every_sweep(engines: list[Transitions]) -> None:
    first, second = engines
    await first.start("one")
    session = await first.open_session()
    async with first.conn.transaction():
        await first.lease(session)
        await second.close(session, lost=False)
    for _ in range(3):
        await first.open_session(lease_ms=0)
        await _sweep(first)
    assert len(await first.messages()) == 1


async def test_sessions_are_forgotten_though_workers_die_at_every_sweep(engines: list[Transitions]) -> None:
    first, _ = engines
    session = await first.open_session()
    await first.close(session, lost=False)
    await _set_clock(first, 610)
    for _ in range(3):
        dying = await first.open_session(lease_ms=-1)
        assert await _sweep(first) == [dying]
    assert session not in await values(first.conn, "select session_id from pgflow.sessions")


async def test_a_resume_that_waits_for_the_sweep_finds_its_leases_lost(engines: list[Transitions]) -> None:
    first, second = engines
    await first.start("one")
    session = await first.open_session(lease_ms=0)
    (lease,) = await first.lease(session)
    async with first.conn.transaction():
        assert await _sweep(first) == [session]
        resume = asyncio.create_task(_resume(second, session))
        async with await psycopg.AsyncConnection.connect(first.conn.info.dsn, autocommit=True) as third:
            await someone_waits(third)
    assert await resume == []
    assert await second.complete(lease) == [3]


async def test_a_sweep_passes_over_a_session_that_is_being_resumed(engines: list[Transitions]) -> None:
    first, second = engines
    session = await first.open_session(lease_ms=0)
    async with first.conn.transaction():
        assert len(await _resume(first, session)) == 1
        assert await _sweep(second) == []
    assert await _sweep(second) == []
    assert await _renew(second, session, epoch=2) == {session}


@pytest.mark.parametrize("secret", ["secret", "guessed"])
async def test_renewals_do_not_wait_for_a_session_that_another_coordinator_has_locked(
    engines: list[Transitions], secret: str
) -> None:
    """Its resume may wait for a run for long; all sessions of this coordinator would run out meanwhile."""
    first, second = engines
    locked, other = await first.open_session(lease_ms=0), await first.open_session(lease_ms=0)
    async with first.conn.transaction():
        await _resume(first, locked, secret)
        await second.conn.execute("set lock_timeout = '3s'")
        # What becomes of the locked one is not known yet: its stream stays until the next renewal tells.
        assert await _renew(second, locked, other) == {locked, other}
    assert await _sweep(second) == ([] if secret == "secret" else [locked])
    assert await _renew(second, locked, other) == {other}


async def test_a_session_opens_for_a_whole_lease_however_long_its_name_was_locked(engines: list[Transitions]) -> None:
    first, second = engines
    async with first.conn.transaction():
        await first.open_session()
        opening = asyncio.create_task(second.open_session(lease_ms=60_000))
        async with await psycopg.AsyncConnection.connect(first.conn.info.dsn, autocommit=True) as third:
            await someone_waits(third)
            (released_at,) = await values(third, "select clock_timestamp()")
    session = await opening
    (is_whole,) = await values(
        second.conn, "select lease_until >= %s + interval '60 s' from pgflow.sessions where session_id = %s",
        released_at, session,
    )  # fmt: skip
    assert is_whole


async def test_a_sweep_takes_back_ten_thousand_tasks_at_most(conn: psycopg.AsyncConnection[Any]) -> None:
    """Whole sessions, at least one: it holds the locks of all their runs until it commits."""
    engine = Transitions(conn)
    await engine.define("many", maps=["m"], m=[])
    for _ in range(11):
        await engine.start("many", list(range(1000)))
    sessions = [await engine.open_session(lease_ms=0) for _ in range(11)]
    for session in sessions:
        assert len(await engine.lease(session, 1000)) == 1000
    first = await _sweep(engine)
    assert len(first) == 10
    assert sorted([*first, *await _sweep(engine)]) == sorted(sessions)
    assert await _sweep(engine) == []
    assert await values(conn, "select count(*) from pgflow.step_tasks where status <> 'queued'") == [0]


@pytest.mark.slow  # a lock is waited for 5 s
async def test_nobody_waits_for_ever_for_a_run_that_somebody_keeps(engines: list[Transitions], database: str) -> None:
    """A pool whose connections all wait has none left to renew leases with."""
    first, second = engines
    run_id, *_ = run_ids = await first.start_many("one", 3)
    said_goodbye, vanished, moved = [await first.open_session() for _ in range(3)]
    for session in (said_goodbye, vanished, moved):
        assert len(await first.lease(session, 1)) == 1
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(4)]
    others = [Transitions(conn) for conn in conns]
    async with first.conn.transaction():
        await first.rows("select 1 from pgflow.runs where run_id = any(%s) for no key update", run_ids)
        async with asyncio.timeout(30):
            ends = await asyncio.gather(
                others[0].close(said_goodbye, lost=False),
                others[1].close(vanished, lost=True),
                _resume(others[2], moved),
                others[3].cancel(run_id),
                return_exceptions=True,
            )
    for conn in conns:
        await conn.close()
    assert ends[0] == 0
    assert [type(end) for end in ends[1:]] == [psycopg.errors.LockNotAvailable] * 3
    await _sweep(second)
    assert await values(second.conn, "select lost_leases from pgflow.step_tasks where status = 'queued'") == [0]
    assert await _renew(second, said_goodbye, vanished, moved) == {vanished, moved}


@pytest.mark.slow  # a lock is waited for 5 s
async def test_a_sweep_goes_on_around_a_run_that_somebody_keeps(engines: list[Transitions]) -> None:
    """What it leaves behind hides neither sessions that run out later nor leases that raced, and counts no loss."""
    first, second = engines
    await first.start_many("one", 4)
    sessions = [await first.open_session() for _ in range(4)]
    runs = [(await first.lease(session, 1))[0].run_id for session in sessions]
    run_out = "update pgflow.sessions set lease_until = pgflow.now() - interval '1 s' where session_id = any(%s)"

    async def losses() -> dict[UUID, int]:
        rows = await second.rows("select run_id, lost_leases from pgflow.step_tasks where status = 'queued'")
        return {row.run_id: row.lost_leases for row in rows}

    await first.rows(run_out, sessions[:2])
    async with first.conn.transaction():
        await first.rows("select 1 from pgflow.runs where run_id = %s for no key update", runs[0])
        async with asyncio.timeout(60):
            assert {*await _sweep(second)} == {*sessions[:2]}
            assert await losses() == {runs[1]: 1}
            await second.rows(run_out, sessions[2:3])
            # As a lease leaves it that was under way while its session ended.
            await second.rows("update pgflow.sessions set closed_at = pgflow.now() where session_id = %s", sessions[3])
            assert await _sweep(second) == [sessions[2]]
        assert await losses() == {runs[1]: 1, runs[2]: 1, runs[3]: 0}
    assert await _sweep(second) == []
    assert await losses() == {runs[0]: 0, runs[1]: 1, runs[2]: 1, runs[3]: 0}


async def test_a_lease_is_not_lost_before_it_began(engines: list[Transitions]) -> None:
    first, second = engines
    await first.define("many", maps=["work"], work=[])
    run_id = await first.start("many", [1, 2])
    session = await first.open_session()
    await first.lease(session, 1)
    async with first.conn.transaction():
        await first.rows("select 1 from pgflow.runs where run_id = %s for no key update", run_id)
        closing = asyncio.create_task(second.close(session, lost=True))
        async with await psycopg.AsyncConnection.connect(first.conn.info.dsn, autocommit=True) as third:
            await someone_waits(third)
        await first.lease(session, 1)
    assert await closing == 2
    assert await values(first.conn, "select failed_at >= started_at from pgflow.task_errors") == [True, True]


@pytest.mark.parametrize("kept", ["pgflow.workers", pytest.param("pgflow.handler_details", marks=pytest.mark.slow)])
async def test_a_hello_gives_up_on_what_somebody_keeps(engines: list[Transitions], kept: str) -> None:
    """As a pool full of resumes, a pool full of Hellos that wait has no connection left to renew leases with."""
    first, second = engines
    serve = "select pgflow.serve_handlers(%s, '{\"\"}', '{h}', '{x}', '{text}', '{null}', '{null}', '{null}')"
    await first.rows(serve, await first.open_session())
    await first.rows("update pgflow.handler_details set seen_at = seen_at - interval '1 hour'")
    session = await first.open_session()
    async with first.conn.transaction():
        await first.rows(f"select 1 from {kept} for update")
        async with asyncio.timeout(30):
            hello = second.open_session() if kept == "pgflow.workers" else second.rows(serve, session)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await hello
    await second.rows(serve, await second.open_session())
