"""A TCP balancer between clients and coordinators, as a Kubernetes service is one; its connections can be broken."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Connection:
    """A client's connection and the coordinator's behind it."""

    def __init__(self, client: str, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        #: Name that the client's port was opened under.
        self.client = client
        self._ends = ends
        self._passing = asyncio.Event()
        self._passing.set()

    def cut(self) -> None:
        """Both sides learn at once that it is over."""
        for end in self._ends:
            end.transport.abort()

    def half_open(self) -> None:
        """Nothing passes any more and neither side is told, not even when the other one closes."""
        self._passing.clear()

    async def carry(self, readers: tuple[asyncio.StreamReader, asyncio.StreamReader]) -> None:
        """Passes bytes both ways until one side ends."""
        here, behind = self._ends
        await asyncio.gather(self._pass(readers[0], behind), self._pass(readers[1], here))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        await self._passing.wait()
        writer.transport.abort()


class Balancer:
    """Gives each client a port of its own, and each new connection the next coordinator that accepts one.

    Args:
        ports: of the coordinators on 127.0.0.1.
    """

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._next = 0
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()
        #: Those that were opened and have not ended.
        self.connections: set[Connection] = set()
        #: Clients whose new connections are closed at once.
        self.refused: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def open(self, client: str) -> str:
        """Listens for a client; returns the address."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(client, reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self._servers.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = None if client in self.refused else await self._reach()
        if behind is None:
            writer.transport.abort()
            return
        connection = Connection(client, (writer, behind[1]))
        self.connections.add(connection)
        try:
            await connection.carry((reader, behind[0]))
        finally:
            self.connections.discard(connection)
            connection.cut()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._next += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._ports[self._next % len(self._ports)])
        return None
