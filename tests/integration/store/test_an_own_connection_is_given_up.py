"""Who keeps a connection for itself waits no longer for a dead one than it wants to."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from stepgres_service.errors import Unavailable
from stepgres_service.store.own_connection import OwnConnection
from stepgres_service.store.pool import Database
from tests.support.pg_proxy import pg_proxy


async def one(conn: psycopg.AsyncConnection[Any]) -> Any:
    return await (await conn.execute("select 1")).fetchone()


async def test_the_next_caller_gets_another_connection_at_once(database: str) -> None:
    async with pg_proxy(database) as proxy:
        own = OwnConnection(Database(proxy.dsn, min_size=1, max_size=1))
        assert await own.ask(5, one) == (1,)
        proxy.silence()
        with pytest.raises(Unavailable, match="did not answer"):
            await own.ask(0.2, one)
        # What was given up still asks the server to cancel its statement, and waits for that.
        assert await own.ask(4, one) == (1,)
        await own.close()


async def test_who_gives_up_asking_leaves_the_connection_to_nobody(database: str) -> None:
    own = OwnConnection(Database(database, min_size=1, max_size=1))

    async def pid(conn: psycopg.AsyncConnection[Any]) -> int:
        return conn.info.backend_pid

    async def sleep(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute("select pg_sleep(60)")

    before = await own.ask(5, pid)
    assert own.runs_on(before)
    asking = asyncio.create_task(own.ask(60, sleep))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await own.ask(5, pid) != before
    assert not own.runs_on(before)
    await own.close()


async def test_a_renewed_one_is_another(database: str) -> None:
    own = OwnConnection(Database(database, min_size=1, max_size=1))

    async def pid(conn: psycopg.AsyncConnection[Any]) -> int:
        return conn.info.backend_pid

    own.renew()  # before there is one
    before = await own.ask(5, pid)
    assert await own.ask(5, pid) == before
    own.renew()
    assert not own.runs_on(before)
    after = await own.ask(5, pid)
    assert after != before
    assert own.runs_on(after)
    assert await own.ask(5, pid) == after
    await own.close()
