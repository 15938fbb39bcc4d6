"""The worker under test as a process: started as its author starts it, judged by what it says and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from stepgres_conformance.system import clean_environment

#: $1 the worker's process group. `read` returns when our end of its input closes: when we die, kill -9 included.
_WATCHDOG = 'trap "" INT TERM HUP; read -r _; kill -KILL -"$1"'


class Unusable(Exception):
    """The command cannot be started, or never connects: nothing can be judged."""


class WorkerProcess:
    """One life of the worker under test.

    Args:
        command: what starts it.
        folder: STEPGRES_CONFORMANCE_DIR.
        target: STEPGRES_TARGET.
        concurrency: STEPGRES_CONFORMANCE_CONCURRENCY.
        handlers: STEPGRES_CONFORMANCE_HANDLERS; empty = not set.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, target: str, concurrency: int, handlers: Sequence[str]
    ) -> None:
        self._command = command
        self.folder = folder
        self.concurrency = concurrency
        self.handlers = tuple(handlers)
        self._environment = {
            **clean_environment(),
            "STEPGRES_TARGET": target,
            "STEPGRES_CONFORMANCE_CONCURRENCY": str(concurrency),
            "STEPGRES_CONFORMANCE_DIR": str(folder),
        }
        if handlers:
            self._environment["STEPGRES_CONFORMANCE_HANDLERS"] = ",".join(handlers)
        self._process: asyncio.subprocess.Process | None = None
        self._watchdog: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it.

        Raises:
            Unusable: there is no such command.
        """
        with (self.folder / "output").open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                    env=self._environment, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise Unusable(
                    f"{self._command[0]}: cannot be started ({error.strerror or error}); give a command that starts "
                    "the worker"
                ) from error
        self._watchdog = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _WATCHDOG, "stepgres-watchdog", str(self._process.pid),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.returncode

    def terminate(self) -> None:
        """Asks it to drain and end, as a platform does."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends it and everything below it that has stayed in its session, and waits for that."""
        process = self._process
        if process is None:
            return
        if self._watchdog is not None:
            # First: the group's number may be another one's when the worker is gone.
            with contextlib.suppress(ProcessLookupError):
                self._watchdog.kill()
            await self._watchdog.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    def log(self) -> list[str]:
        """Lines that its handlers have written."""
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def output(self) -> str:
        """The end of what it has printed."""
        return (self.folder / "output").read_bytes()[-2000:].decode(errors="replace").strip()
