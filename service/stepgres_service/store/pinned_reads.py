"""Reads whose plans do not depend on the statistics."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import namedtuple_row

from stepgres_service.store.queries import load_queries

_SQL = load_queries("pinned_reads")


async def pin_plans(conn: AsyncConnection[Any], *, generic: bool) -> None:
    """Pins the plans of what follows in this transaction, or pipeline; for `generic` see fetch_pinned."""
    await conn.execute(_SQL["pin_plans"], ("force_generic_plan" if generic else "force_custom_plan",), prepare=True)


async def ask_pinned(
    conn: AsyncConnection[Any], query: bytes, parameters: dict[str, Any], *, generic: bool = False
) -> AsyncCursor[Any]:
    """Sends a read, without waiting for its answer; see fetch_pinned.

    Args:
        conn: in autocommit and in a pipeline.
        query: from store/*.sql.
        parameters: by name.
        generic: see fetch_pinned.
    """
    await pin_plans(conn, generic=generic)
    cursor = conn.cursor(row_factory=namedtuple_row)
    # Prepared at once or never: what psycopg prepares after some executions it takes for prepared, even when the pipeline
    # fails before the server has seen it.
    return await cursor.execute(query, parameters, prepare=generic)


async def fetch_pinned(
    conn: AsyncConnection[Any], query: bytes, parameters: dict[str, Any], *, generic: bool = False
) -> list[Any]:
    """Runs a read with pinned plans, in one round trip.

    Args:
        conn: in autocommit.
        query: from store/*.sql.
        parameters: by name.
        generic: the query is planned once and for all; else anew each time, since the best plan depends on which filters
            are given.

    Returns:
        Rows with the names of their columns.
    """
    async with conn.pipeline():
        cursor = await ask_pinned(conn, query, parameters, generic=generic)
    return await cursor.fetchall()
