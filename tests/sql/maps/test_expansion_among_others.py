"""The expander beside those who lock the runs of large maps: results, cancels, other expanders."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.sql import someone_waits, values
from tests.support.transitions import Transitions


@pytest.fixture
async def engines(database: str) -> Any:
    """Two engines on connections of their own, and a flow of one map."""
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(2)]
    engines = [Transitions(conn) for conn in conns]
    await engines[0].define("many", maps=["work"], work=[])
    yield engines
    await engines[0].assert_invariants()
    for conn in conns:
        await conn.close()


async def _start(engine: Transitions, items: int = 3000) -> UUID:
    return await engine.start("many", json.dumps(list(range(items))))


async def _expand(engine: Transitions) -> bool:
    (row,) = await engine.rows("select pgflow.expand_maps() as more")
    return bool(row.more)


async def _written(engine: Transitions, run_id: UUID) -> int:
    (count,) = await values(engine.conn, "select count(*) from pgflow.step_tasks where run_id = %s", run_id)
    return int(count)


async def _lock(engine: Transitions, run_id: UUID) -> None:
    await engine.rows("select 1 from pgflow.runs where run_id = %s for no key update", run_id)


async def test_a_map_whose_run_is_locked_all_the_time_is_written_when_its_turn_comes(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    """Passing it over would leave a busy map without rows until the expander looks again, seconds later."""
    first, second = engines
    run_id = await _start(first)
    async with first.conn.transaction():
        await _lock(first, run_id)
        expanding = asyncio.create_task(_expand(second))
        await someone_waits(conn)
    assert await expanding
    assert await _written(first, run_id) == 3000
    assert not await _expand(second)


async def test_a_map_that_is_free_is_written_before_one_that_is_locked(engines: list[Transitions]) -> None:
    first, second = engines
    locked, free = await _start(first), await _start(first)
    async with first.conn.transaction():
        await _lock(first, locked)
        assert await _expand(second)
        assert (await _written(second, locked), await _written(second, free)) == (1000, 3000)


async def test_an_expander_that_waited_in_vain_asks_to_be_called_again(engines: list[Transitions]) -> None:
    first, second = engines
    run_id = await _start(first)
    async with first.conn.transaction():
        await _lock(first, run_id)
        assert await _expand(second)
        assert await _written(second, run_id) == 1000
    assert await _expand(second)
    assert await _written(second, run_id) == 3000


async def test_a_map_that_is_cancelled_while_the_expander_waits_is_not_written(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await _start(first)
    async with first.conn.transaction():
        await first.cancel(run_id)
        expanding = asyncio.create_task(_expand(second))
        await someone_waits(conn)
    await expanding
    assert await _written(first, run_id) == 1000
    assert not await _expand(second)


async def test_a_cancel_waits_for_a_chunk_and_takes_it_too(
    engines: list[Transitions], conn: psycopg.AsyncConnection[Any]
) -> None:
    first, second = engines
    run_id = await _start(first)
    async with first.conn.transaction():
        assert await _expand(first)
        cancelling = asyncio.create_task(second.cancel(run_id))
        await someone_waits(conn)
    assert await cancelling == [True]
    assert await values(conn, "select distinct status from pgflow.step_tasks") == ["cancelled"]
    assert await first.messages() == []
