"""What Database refuses when it opens, and what it knows of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stepgres_service.errors import SetupError, Unavailable
from stepgres_service.store import pool
from stepgres_service.store.pool import Database


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    db = Database(database, min_size=1, max_size=2)
    await db.open()
    yield db
    await db.close()


async def refused(dsn: str) -> str:
    db = Database(dsn, min_size=1, max_size=1, timeout_s=5)
    try:
        with pytest.raises((SetupError, Unavailable)) as caught:
            await db.open()
    finally:
        await db.close()
    return caught.value.message


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_another_isolation_level_is_refused_with_the_remedy(database, conn, level):
    name = conninfo_to_dict(database)["dbname"]
    await conn.execute(
        sql.SQL("alter database {} set default_transaction_isolation = {}").format(sql.Identifier(str(name)), level)
    )

    message = await refused(database)

    assert level in message
    assert "set it to read committed" in message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("select 140011, false, 'read committed', ''", "PostgreSQL 14 is too old; use 15 to 18"),
        ("select 160000, true, 'read committed', ''", "standby; point STEPGRES_DATABASE_URL at the primary"),
    ],
)
async def test_an_old_server_and_a_standby_are_refused(database, monkeypatch, answer, says):
    monkeypatch.setitem(pool._SQL, "server", answer.encode())

    assert says in await refused(database)


@pytest.mark.slow  # the pool waits 5 s
async def test_a_database_that_does_not_exist_is_named(database):
    assert "does not exist" in await refused(make_conninfo(database, dbname="nowhere"))


async def test_two_databases_of_one_server_have_two_ids(pg_cluster, opened):
    other = Database(pg_cluster.create_empty(), min_size=1, max_size=1)
    await other.open()
    await other.close()

    cluster, _, _ = opened.system_id.partition(":")
    assert cluster.isdigit(), "bound to the cluster, or a copy restored elsewhere would take old page tokens"
    assert other.system_id.startswith(f"{cluster}:")
    assert other.system_id != opened.system_id


async def test_a_transaction_that_raises_leaves_nothing(opened, conn):
    async def fail() -> None:
        async with opened.transaction() as inside:
            await inside.execute("select pgflow.create_flow('etl')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with opened.transaction() as inside:
        await inside.execute("select pgflow.create_flow('kept')")

    rows = await (await conn.execute("select workflow_slug from pgflow.workflows")).fetchall()
    assert rows == [("kept",)]


async def test_a_connection_that_was_killed_is_replaced(opened, conn):
    async with opened.connection() as victim:
        pid = victim.info.backend_pid
        await conn.execute("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(psycopg.OperationalError):
            await victim.execute("select 1")

    async with opened.connection() as next_one:
        assert next_one.info.backend_pid != pid
        assert await (await next_one.execute("select 1")).fetchone() == (1,)
