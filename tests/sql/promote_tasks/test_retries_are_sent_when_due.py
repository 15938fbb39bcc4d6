"""pgflow.promote_tasks: what is sent when, and how it gets along with those who lock runs."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

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


async def _broken(engine: Transitions, count: int = 1) -> list[UUID]:
    """Runs whose task failed and is due again, in the order in which they are due."""
    run_ids = []
    for n in range(count):
        run_ids.append(await engine.start("one"))
        (lease,) = await engine.lease(await engine.open_session())
        await engine.record((lease, 2, "broken"), retry_after_ms=3_600_000)
        await engine.rows(
            "update pgflow.step_tasks set available_at = pgflow.now() - make_interval(secs => %s) where run_id = %s",
            count - n, run_ids[-1],
        )  # fmt: skip
    return run_ids


async def _promote(engine: Transitions, limit: int = 500) -> Any:
    (row,) = await engine.rows("select * from pgflow.promote_tasks(%s)", limit)
    return row


async def _lock(engine: Transitions, run_id: UUID) -> None:
    await engine.rows("select 1 from pgflow.runs where run_id = %s for no key update", run_id)


async def _sent(engine: Transitions) -> set[UUID]:
    return {message[2] for message in await engine.messages()}


async def test_what_is_due_is_sent_and_the_rest_tells_when(engines: list[Transitions]) -> None:
    first, _ = engines
    due, later = await _broken(first, 2)
    await first.rows(
        "update pgflow.step_tasks set available_at = pgflow.now() + interval '1 hour' where run_id = %s", later
    )
    row = await _promote(first)
    assert (row.promoted, await _sent(first)) == (1, {due})
    assert 3_500_000 < row.next_due_ms <= 3_600_000


async def test_of_the_retries_of_one_run_only_those_that_are_due_are_sent(engines: list[Transitions]) -> None:
    first, _ = engines
    await first.define("two", left=[], right=[])
    await first.start("two")
    left, right = await first.lease(await first.open_session())
    await first.record((left, 2, "broken"), retry_after_ms=1)
    await first.record((right, 2, "broken"), retry_after_ms=3_600_000)
    await first.rows("update pgflow.step_tasks set available_at = pgflow.now() where step_index = %s", left.step_index)
    assert (await _promote(first)).promoted == 1
    assert [message[3] for message in await first.messages()] == [left.step_index]


async def test_the_longest_due_go_first(engines: list[Transitions]) -> None:
    first, _ = engines
    run_ids = await _broken(first, 3)
    assert (await _promote(first, 2)).promoted == 2
    assert await _sent(first) == {*run_ids[:2]}
    assert (await _promote(first, 2)).promoted == 1
    row = await _promote(first, 2)
    assert (row.promoted, row.next_due_ms) == (0, None)


async def test_runs_that_others_have_locked_do_not_hide_the_next(engines: list[Transitions]) -> None:
    first, second = engines
    *locked, free = await _broken(first, 4)
    async with first.conn.transaction():
        for run_id in locked:
            await _lock(first, run_id)
        assert (await _promote(second, 2)).promoted == 1
        assert await _sent(second) == {free}


async def test_a_run_that_is_locked_all_the_time_is_waited_for(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    """So that it stands in the line behind the results that lock the run one after the other."""
    first, second = engines
    (run_id,) = await _broken(first)
    waited = False
    while not waited:
        async with first.conn.transaction():
            await _lock(first, run_id)
            promoting = asyncio.create_task(_promote(second))
            await someone_waits(conn)
        waited = (await promoting).promoted == 1
    assert await _sent(first) == {run_id}


async def test_a_promoter_that_waited_in_vain_says_what_is_overdue(engines: list[Transitions]) -> None:
    first, second = engines
    (run_id,) = await _broken(first)
    async with first.conn.transaction():
        await _lock(first, run_id)
        row = await _promote(second)
        assert row.promoted == 0
        assert row.next_due_ms < 0
    assert (await _promote(second)).promoted == 1


async def test_the_next_is_due_that_much_sooner_when_the_promoter_waited(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id, later = await _broken(first, 2)
    await first.rows(
        "update pgflow.step_tasks set available_at = pgflow.now() + interval '1 hour' where run_id = %s", later
    )
    async with first.conn.transaction():
        await _lock(first, run_id)
        promoting = asyncio.create_task(_promote(second))
        await someone_waits(conn)
        (left_ms,) = await values(
            conn,
            "select extract(epoch from max(available_at) - clock_timestamp())::float8 * 1000 from pgflow.step_tasks",
        )
    assert (await promoting).next_due_ms <= left_ms


async def test_a_retry_that_is_cancelled_meanwhile_is_not_sent(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    (run_id,) = await _broken(first)
    async with first.conn.transaction():
        await first.cancel(run_id)
        promoting = asyncio.create_task(_promote(second))
        await someone_waits(conn)
    assert (await promoting).promoted == 0
    assert await first.messages() == []
    assert await values(conn, "select status from pgflow.step_tasks") == ["cancelled"]


async def test_a_cancel_takes_what_is_being_sent(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    (run_id,) = await _broken(first)
    async with first.conn.transaction():
        assert (await _promote(first)).promoted == 1
        cancelling = asyncio.create_task(second.cancel(run_id))
        await someone_waits(conn)
    assert await cancelling == [True]
    assert await first.messages() == []
