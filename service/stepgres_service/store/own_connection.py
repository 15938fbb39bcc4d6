"""A connection that one part of the engine keeps for itself, so that it never waits for the pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from stepgres_service.errors import Reason, Unavailable
from stepgres_service.store.errors import translated
from stepgres_service.store.pool import Database

_T = TypeVar("_T")


class KeptConnection:
    """A connection that is kept from use to use, and known by the number of its backend."""

    def __init__(self) -> None:
        self.conn: AsyncConnection[Any] | None = None
        self._outdated = False

    async def get(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> AsyncConnection[Any]:
        """The connection; another one where there is none, where it has ended, and after renew()."""
        if self._outdated:
            await self.close()
        if self.conn is None or self.conn.closed:
            self.conn = await connect()
        return self.conn

    def runs_on(self, pid: int) -> bool:
        """Whether a backend is this connection's."""
        if self.conn is None or self.conn.closed or self._outdated:
            return False
        return self.conn.info.backend_pid == pid

    def renew(self) -> None:
        """Lets the next use have another connection: the present one may have ended without notice."""
        self._outdated = self.conn is not None

    async def close(self) -> None:
        """Closes the connection; the next use opens another."""
        conn, self.conn, self._outdated = self.conn, None, False
        if conn is not None:
            await conn.close()


class _Slot(KeptConnection):
    """A connection and who may use it now."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = asyncio.Lock()


class OwnConnection:
    """Opened at need and again after a failure; one caller at a time.

    Args:
        database: where to connect.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slot = _Slot()

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The connection, in autocommit.

        Raises:
            StepgresError: whatever the database raises inside, translated.
        """
        slot = self._slot
        async with slot.turn:
            try:
                with translated():
                    try:
                        yield await slot.get(self._connect)
                    except psycopg.Error as error:
                        self._database.heard(error)
                        raise
            except BaseException:
                # Whatever it was, even a cancel: the answer to what was asked may still be on its way.
                await slot.close()
                raise

    async def ask(self, limit_s: float, work: Callable[[AsyncConnection[Any]], Awaitable[_T]]) -> _T:
        """Does some work on the connection and waits for it no longer than limit_s, whatever becomes of the connection.

        On a dead connection a cancelled statement ends only some 10 s later: psycopg asks the server to cancel it, and
        waits. So both are left behind, and the next caller gets another connection.

        Raises:
            Unavailable: the time is over.
            StepgresError: whatever the database raises, translated.
        """
        slot = self._slot
        task = asyncio.create_task(self._do(work))
        try:
            await asyncio.wait({task}, timeout=limit_s)
        finally:
            if not task.done():
                self._slot = _Slot()  # for the next caller
                task.cancel()
                task.add_done_callback(lambda left: _leave(slot, left))
        if not task.done():
            raise Unavailable(
                f"the database did not answer for {limit_s:g} s", reason=Reason.DATABASE_UNAVAILABLE, retry_after_s=1.0
            )
        return task.result()

    async def _do(self, work: Callable[[AsyncConnection[Any]], Awaitable[_T]]) -> _T:
        async with self.use() as conn:
            return await work(conn)

    async def _connect(self) -> AsyncConnection[Any]:
        try:
            return await self._database.connect()
        except TimeoutError:
            raise Unavailable(
                "the database cannot be reached now (no connection in time); try again",
                reason=Reason.DATABASE_UNAVAILABLE,
                retry_after_s=1.0,
            ) from None

    def runs_on(self, pid: int) -> bool:
        """Whether a backend is this connection's."""
        return self._slot.runs_on(pid)

    def renew(self) -> None:
        """Lets the next caller have another connection: the present one may have ended without notice."""
        self._slot.renew()

    async def close(self) -> None:
        """Closes the connection; the next use opens another."""
        await self._slot.close()


def _leave(slot: _Slot, left: asyncio.Task[Any]) -> None:
    """Ends what was left behind, also when its task was cancelled before it had begun."""
    if not left.cancelled():
        left.exception()  # looked at, or asyncio complains that nobody did
    if slot.conn is not None and not slot.turn.locked():
        slot.conn.pgconn.finish()
