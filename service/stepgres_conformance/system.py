"""A database and real coordinator processes for the kit, of its own and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import grpc

from stepgres_service.dev import EmbeddedPostgres, EmbeddedPostgresError
from stepgres_service.dev.process import free_port
from stepgres_service.store.migrate import Migrator

#: Short, so that what takes a lease or a heartbeat can be waited for; long enough for a busy machine.
LEASE_S, HEARTBEAT_S, GRACE_S, DRAIN_S = 6.0, 1.0, 4.0, 8.0
_SETTINGS = {
    "STEPGRES_LEASE_S": f"{LEASE_S:g}",
    "STEPGRES_HEARTBEAT_S": f"{HEARTBEAT_S:g}",
    "STEPGRES_RECONNECT_GRACE_MS": f"{GRACE_S * 1000:.0f}",
    "STEPGRES_DRAIN_S": f"{DRAIN_S:g}",
    "STEPGRES_POLL_S": "1",
    "STEPGRES_LOG_LEVEL": "warning",
}
_START_S, _STOP_S = 60.0, 30.0


class SystemBroken(Exception):
    """The kit's own database or coordinator does not work: nothing is said about the worker."""


def clean_environment() -> dict[str, str]:
    """Ours without the settings of the caller's shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("STEPGRES_", "PG"))}


class Coordinator:
    """A `stepgres serve` process on a free port."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._dsn = dsn
        self._log = folder / f"coordinator-{self.address.rpartition(':')[2]}.log"
        self._process: subprocess.Popen[bytes]
        self.channel: grpc.aio.Channel

    async def start(self) -> Self:
        """Starts it and waits until it serves.

        Raises:
            SystemBroken: it does not.
        """
        environment = {
            **clean_environment(),
            **_SETTINGS,
            "STEPGRES_DATABASE_URL": self._dsn,
            "STEPGRES_LISTEN": self.address,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 it returns at once
                # It ends with our end of its input, even when we are killed.
                [sys.executable, "-m", "stepgres_cli", "serve", "--stop-with-stdin"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self.channel = grpc.aio.insecure_channel(
            self.address,
            options=[("grpc.max_receive_message_length", 20 << 20), ("grpc.max_reconnect_backoff_ms", 200)],
        )
        ready = asyncio.ensure_future(self.channel.channel_ready())
        deadline = time.monotonic() + _START_S
        try:
            while not ready.done():
                await asyncio.wait({ready}, timeout=0.2)
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise SystemBroken(f"the kit's coordinator did not start: {self._log.read_text()[-2000:]}")
        finally:
            ready.cancel()
        return self

    def terminate(self) -> None:
        """Asks it to drain and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    async def stopped(self) -> None:
        """Waits for its end, and makes it end."""
        await self.channel.close()
        try:
            await asyncio.to_thread(self._process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        assert self._process.stdin is not None
        self._process.stdin.close()


class System:
    """The database, and the coordinator of the moment; an async context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._postgres = EmbeddedPostgres(durable=False)
        self._dsn = ""
        self.coordinator: Coordinator

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._postgres.start)
        except EmbeddedPostgresError as error:
            raise SystemBroken(str(error)) from error
        try:
            self._dsn = self._postgres.dsn()
            await asyncio.to_thread(Migrator(self._dsn).up)
            self.coordinator = await self.spare()
        except BaseException:
            await asyncio.to_thread(self._postgres.stop)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self.coordinator.kill()
        await self.coordinator.stopped()
        await asyncio.to_thread(self._postgres.stop)

    async def spare(self) -> Coordinator:
        """Another coordinator on the same database, ready to take over."""
        return await Coordinator(self._dsn, self._folder).start()
