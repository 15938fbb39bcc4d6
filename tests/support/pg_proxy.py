"""A TCP proxy in front of PostgreSQL, so that a test can cut the wire at the moment it chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class PgProxy:
    """Passes bytes on until told otherwise.

    Args:
        dsn: of the real database.
    """

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._host, self._port = str(given.get("host") or "localhost"), int(given.get("port") or 5432)
        self._dsn = dsn
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        #: False: the server's answers are swallowed; what is asked still reaches it.
        self.answers = True
        #: Connections that get no answers any more, whatever is done to the others.
        self._silent: set[asyncio.StreamWriter] = set()
        #: False: new connections are closed at once.
        self.accepts = True
        #: How many were.
        self.refused = 0
        #: Texts in what is asked, such as the name of a function, that keep it from the server until they are removed.
        self.holds: set[bytes] = set()
        #: The texts that have kept something.
        self.held: set[bytes] = set()
        #: Address of the database through the proxy; set by start().
        self.dsn = ""

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(self._dsn, host="127.0.0.1", port=port, sslmode="disable")

    async def stop(self) -> None:
        """Cuts everything and listens no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Breaks every connection, without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        """Swallows what the server answers on the present connections from now on; later ones are well."""
        self._silent |= self._writers

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.accepts:
            self.refused += 1
            writer.transport.abort()
            return
        if self._host.startswith("/"):
            behind = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            behind = await asyncio.open_connection(self._host, self._port)
        ends = (writer, behind[1])
        self._writers.update(ends)
        try:
            await asyncio.gather(
                self._pass(reader, behind[1], answers=False), self._pass(behind[0], writer, answers=True)
            )
        finally:
            self._writers.difference_update(ends)
            self._silent.difference_update(ends)
            for end in ends:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                while not answers and (found := {text for text in self.holds if text in data}):
                    self.held |= found
                    await asyncio.sleep(0.01)
                if not answers or (self.answers and writer not in self._silent):
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def pg_proxy(dsn: str) -> AsyncIterator[PgProxy]:
    """A proxy, stopped at the end."""
    proxy = PgProxy(dsn)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
