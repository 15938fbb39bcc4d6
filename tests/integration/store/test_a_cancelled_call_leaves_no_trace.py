"""Callers go away while their statements are under way; whoever gets the connection next must not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from stepgres_service.errors import Unavailable
from stepgres_service.store.pool import Database

_READ = "select count(*) from pgflow.runs"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    """A pool with a single connection."""
    pool = Database(database, min_size=1, max_size=1)
    await pool.open()
    yield pool
    await pool.close()


async def read(pool: Database) -> Any:
    async with pool.connection() as conn:
        return await (await conn.execute(_READ)).fetchone()


async def test_what_a_cut_pipeline_would_have_prepared_is_not_believed_to_be(
    pool: Database, conn: psycopg.AsyncConnection[Any]
) -> None:
    async def pipeline() -> None:
        async with pool.connection() as theirs, theirs.pipeline():
            await theirs.execute("select pg_sleep(60)")
            await theirs.execute(_READ)  # the third time: this is when it would be prepared

    for _ in range(2):
        assert await read(pool) == (0,)
    cut = asyncio.create_task(pipeline())
    async with asyncio.timeout(10):
        while not await (
            await conn.execute("select 1 from pg_stat_activity where query like '%pg_sleep(60)' and state = 'active'")
        ).fetchone():
            await asyncio.sleep(0.01)
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    for _ in range(3):
        assert await read(pool) == (0,)


async def test_a_connection_that_has_lost_its_statements_is_replaced(pool: Database) -> None:
    for _ in range(4):
        assert await read(pool) == (0,)
    async with pool.connection() as conn:
        # Not `all`, which psycopg would notice.
        await conn.execute("do $$ begin execute 'deallocate all'; end $$")
    with pytest.raises(Unavailable, match="prepared statements"):
        await read(pool)
    assert await read(pool) == (0,)
