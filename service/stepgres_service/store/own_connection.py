"""A connection that one part of the engine keeps for itself, so that it never waits for the pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import AsyncConnection

from stepgres_service.errors import Reason, Unavailable
from stepgres_service.store.errors import translated
from stepgres_service.store.pool import Database


class OwnConnection:
    """Opened at need and again after a failure; one caller at a time.

    Args:
        database: where to connect.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._conn: AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The connection, in autocommit.

        Raises:
            StepgresError: whatever the database raises inside, translated.
        """
        async with self._turn:
            try:
                with translated():
                    try:
                        yield await self._connected()
                    except psycopg.Error as error:
                        self._database.heard(error)
                        raise
            except BaseException:
                # Whatever it was, even a cancel: the answer to what was asked may still be on its way.
                await self.close()
                raise

    async def _connected(self) -> AsyncConnection[Any]:
        if self._conn is None or self._conn.closed:
            try:
                self._conn = await self._database.connect()
            except TimeoutError:
                raise Unavailable(
                    "the database cannot be reached now (no connection in time); try again",
                    reason=Reason.DATABASE_UNAVAILABLE,
                    retry_after_s=1.0,
                ) from None
        return self._conn

    @property
    def pid(self) -> int | None:
        """Backend of the connection; None while there is none."""
        return None if self._conn is None or self._conn.closed else self._conn.info.backend_pid

    async def close(self) -> None:
        """Closes the connection; the next use opens another."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()
