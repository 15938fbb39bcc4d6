"""Calls of the SQL functions as psql makes them, and what they refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from stepgres_service.store.errors import translate


async def call(conn: AsyncConnection[Any], function: str, *given: Any, **named: Any) -> Any:
    """The rows of `select * from pgflow.<function>(…)`, each as a dict."""
    arguments = [sql.Placeholder() for _ in given]
    arguments += [sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in named]
    query = sql.SQL("select * from pgflow.{}({})").format(sql.Identifier(function), sql.SQL(", ").join(arguments))
    cursor = await conn.execute(query, [*given, *named.values()])
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


async def call_one(conn: AsyncConnection[Any], function: str, *given: Any, **named: Any) -> Any:
    """The only row of a call; of a function with one column without name, its value."""
    (row,) = await call(conn, function, *given, **named)
    return row[function] if list(row) == [function] else row


async def refusal(conn: AsyncConnection[Any], function: str, *given: Any, **named: Any) -> tuple[str, str, str]:
    """What a call is refused with: (SQLSTATE, reason, message). Fails when it is not, or with a reason nobody knows."""
    try:
        await call(conn, function, *given, **named)
    except psycopg.Error as error:
        translate(error)  # raises for a reason outside the closed list
        return error.sqlstate or "", error.diag.constraint_name or "", error.diag.message_primary or ""
    raise AssertionError(f"{function} accepted {given} {named}")


async def at_once(dsn: str, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    """Makes each call on a connection of its own, all at the same moment; returns the only row of each."""
    conns = await asyncio.gather(*(AsyncConnection.connect(dsn, autocommit=True) for _ in calls))
    try:
        return await asyncio.gather(
            *(call_one(conn, function, *given) for conn, (function, given) in zip(conns, calls, strict=True))
        )
    finally:
        await asyncio.gather(*(conn.close() for conn in conns))


async def values(conn: AsyncConnection[Any], query: str, *given: Any) -> list[Any]:
    """The first column of a query."""
    return [row[0] for row in await (await conn.execute(query, given)).fetchall()]  # type: ignore[arg-type]


async def someone_waits(conn: AsyncConnection[Any]) -> None:
    """Returns when a connection of this database waits for a lock that another holds."""
    query = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await values(conn, query):
            await conn.execute("select pg_stat_clear_snapshot()")
            await asyncio.sleep(0.01)
