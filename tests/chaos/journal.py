"""What happened, as lines that survive any kill: one JSON object a line in a file that all processes append to.

An entry is on the disk before what it tells of has any effect: an execution before its result, an accepted run before
its tasks. Kinds: `accepted` a run's start was acknowledged · `execution` a handler began · `seen` a client read a run's
output · `retried` a run is about to be retried · `cancelled` a handler was stopped · `fault` something was done to a
process or a connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

#: An entry: `kind`, `at` in seconds since 1970, and what the kind tells.
Entry = dict[str, Any]


class Journal:
    """Appends entries; those that arrive while the disk is busy share its next flush.

    Args:
        path: of the file, made at need; any number of processes may share it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._changed = threading.Condition()
        self._waiting: list[tuple[bytes, threading.Event | asyncio.Future[None]]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._flush, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        os.close(self._file)

    async def append(self, kind: str, **told: Any) -> None:
        """Returns when the entry is on the disk."""
        written = asyncio.get_running_loop().create_future()
        self._add(kind, told, written)
        await written

    def append_blocking(self, kind: str, **told: Any) -> None:
        """The same in a thread."""
        written = threading.Event()
        self._add(kind, told, written)
        written.wait()

    def _add(self, kind: str, told: dict[str, Any], written: threading.Event | asyncio.Future[None]) -> None:
        line = json.dumps({"kind": kind, "at": time.time(), **told}).encode() + b"\n"
        with self._changed:
            self._waiting.append((line, written))
            self._changed.notify()

    def _flush(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch, self._waiting = self._waiting, []
            # One write: lines of other processes come before or after it, never inside. A kill may cut a write short:
            # whoever writes next begins a line of its own.
            os.write(self._file, b"\n" + b"".join(line for line, _ in batch))
            os.fsync(self._file)
            loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
            for _, written in batch:
                if isinstance(written, asyncio.Future):
                    loops.setdefault(written.get_loop(), []).append(written)
                else:
                    written.set()
            for loop, futures in loops.items():
                loop.call_soon_threadsafe(_resolve, futures)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries in the order of the file; a line that a kill cut short told nobody anything and is left out."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue
