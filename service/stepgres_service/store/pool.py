"""The pool of connections, and what a server must be to serve us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from stepgres_service.errors import SetupError, Unavailable
from stepgres_service.store.errors import LOST_STATEMENTS, translated
from stepgres_service.store.queries import load_queries

_SQL = load_queries("pool")

#: How soon a server that vanished without a word is noticed, in some 25 s; the system's own limits are a quarter of an
#: hour and more. What the address says wins.
_KEEPALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}

#: Executions after which a statement is prepared, where nothing speaks against it.
_PREPARE_THRESHOLD = 2


class Database:
    """Connections to one database.

    Args:
        dsn: its address; may lead through PgBouncer.
        direct_dsn: its address without a pooler, for LISTEN; None = dsn.
        min_size: connections kept open.
        max_size: most connections of the pool.
        prepare_threshold: executions after which a statement is prepared, 0 = never; None = 2, and never where a pooler
            is in front, since one in transaction mode may not keep prepared statements.
        timeout_s: longest wait for a connection.
    """

    def __init__(
        self,
        dsn: str,
        *,
        direct_dsn: str | None = None,
        min_size: int = 2,
        max_size: int = 8,
        prepare_threshold: int | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self.dsn = _with_keepalive(dsn)
        self.direct_dsn = _with_keepalive(direct_dsn) if direct_dsn else self.dsn
        self._prepare_threshold = prepare_threshold
        self._timeout_s = timeout_s
        #: Of the cluster; binds page tokens and cursors to it. Set by open().
        self.system_id = ""
        self._check: asyncio.Task[None] | None = None
        self._pool = AsyncConnectionPool(
            self.dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout_s,
            open=False,
            kwargs={"autocommit": True},
            configure=self._configure,
        )

    async def open(self) -> None:
        """Connects and checks the server.

        Raises:
            SetupError: it is a standby, too old, or set to another isolation level.
            Unavailable: it cannot be reached.
        """
        try:
            await self._connect_all()
        except Unavailable as error:
            raise Unavailable(
                f"no connection to the database for {self._timeout_s:.0f} s: {error.message.partition('; ')[0]}; check "
                "STEPGRES_DATABASE_URL, and that PostgreSQL runs there",
                reason=error.reason,
            ) from error
        async with self.connection() as conn:
            row = await (await conn.execute(_SQL["server"])).fetchone()
        assert row is not None
        version, in_recovery, isolation, self.system_id = row
        if version < 150000:
            raise SetupError(f"PostgreSQL {version // 10000} is too old; use 15 to 18")
        if in_recovery:
            raise SetupError("the server is a standby; point STEPGRES_DATABASE_URL at the primary")
        if isolation != "read committed":
            raise SetupError(
                f"default_transaction_isolation is {isolation}; set it to read committed for this database or role"
            )

    async def _connect_all(self) -> None:
        with translated():
            await self._pool.open()
            try:
                await self._pool.wait(self._timeout_s)
            except PoolTimeout:
                # The pool says only that it waited; a connection of our own says why.
                with contextlib.suppress(TimeoutError):
                    await (await self.connect()).close()
                raise

    async def close(self) -> None:
        """Closes every connection of the pool."""
        if self._check is not None:
            self._check.cancel()
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in autocommit.

        Raises:
            StepgresError: whatever the database raises inside, translated.
        """
        with translated():
            try:
                async with self._pool.connection() as conn:
                    try:
                        yield conn
                    except (asyncio.CancelledError, *LOST_STATEMENTS):
                        # Of a pipeline that was cut short psycopg believes to have prepared what never was.
                        await conn.close()
                        raise
            except psycopg.Error as error:
                self.heard(error)
                raise

    def heard(self, error: psycopg.Error) -> None:
        """Mends the pool after an error that one of its connections, or another to this database, has met."""
        if isinstance(error, psycopg.OperationalError):
            # Where one connection was lost the others probably were, too: the next caller should not meet them.
            self._mend(self._pool.check)
        elif isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            # The server has become a standby, or its address led to one: these connections never heal.
            self._mend(self._pool.drain)

    def _mend(self, mend: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(mend(), name="pool check", context=Context())

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in a transaction that commits at the end.

        Raises:
            StepgresError: whatever the database raises inside, translated.
        """
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def connect(self, *, direct: bool = False) -> AsyncConnection[Any]:
        """A connection of the caller's own, in autocommit.

        Args:
            direct: without a pooler, as LISTEN needs it.

        Raises:
            psycopg.Error: as it came.
        """
        async with asyncio.timeout(self._timeout_s):
            conn = await psycopg.AsyncConnection.connect(self.direct_dsn if direct else self.dsn, autocommit=True)
            try:
                await self._configure(conn)
            except BaseException:
                await conn.close()
                raise
            return conn

    async def _configure(self, conn: AsyncConnection[Any]) -> None:
        if self._prepare_threshold is not None:
            conn.prepare_threshold = self._prepare_threshold or None
            return
        conn.prepare_threshold = None
        if not await leads_through_a_pooler(conn):
            conn.prepare_threshold = _PREPARE_THRESHOLD


async def leads_through_a_pooler(conn: AsyncConnection[Any]) -> bool:
    """Whether somebody stands between: a pooler makes up the process id that a client is given at the start."""
    row = await (await conn.execute("select pg_backend_pid()")).fetchone()
    return row is None or row[0] != conn.info.backend_pid


def _with_keepalive(dsn: str) -> str:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return dsn  # no address: connecting says what is wrong with it
    return make_conninfo(dsn, **{name: value for name, value in _KEEPALIVE.items() if name not in given})
