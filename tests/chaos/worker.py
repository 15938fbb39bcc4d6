"""A worker process of the chaos run: serves the common scope and a named one, and writes down what it executes.

python -m tests.chaos.worker NAME JOURNAL, with the coordinator in STEPGRES_TARGET; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from stepgres_worker import TaskError, Worker
from tests.chaos.flows import SCOPE, executions_in
from tests.chaos.journal import Journal

#: Tasks at a time in each scope.
_CONCURRENCY = 64
#: Longest work of an ordinary handler, in seconds.
_WORK_S = 0.02

Context = Any


class Handlers:
    """The handlers, which tell a journal before they do anything.

    Args:
        worker: name of this process.
        journal: where they tell it.
    """

    def __init__(self, worker: str, journal: Journal) -> None:
        self._worker = worker
        self._journal = journal

    async def work(self, given: Any, ctx: Context) -> dict[str, str]:
        """An API that answers within milliseconds."""
        by = await self._began(given, ctx)
        await asyncio.sleep(random.uniform(0, _WORK_S))
        return {"by": by}

    def work_in_thread(self, given: Any, ctx: Context) -> dict[str, str]:
        """The same as a sync function."""
        by = uuid.uuid4().hex
        self._journal.append_blocking("execution", **self._entry(by, given, ctx))
        time.sleep(random.uniform(0, _WORK_S))
        return {"by": by}

    async def make_list(self, given: Any, ctx: Context) -> list[dict[str, Any]]:
        """An array, perhaps an empty one."""
        by = await self._began(given, ctx)
        return [{"by": by, "number": number} for number in range(given["run"]["items"])]

    async def fail_often(self, given: Any, ctx: Context) -> dict[str, str]:
        """Fails every third time."""
        by = await self._began(given, ctx)
        if random.random() < 0.3:
            raise TaskError("not this time")
        return {"by": by}

    async def fail_rarely(self, given: Any, ctx: Context) -> dict[str, str]:
        """Fails once in twenty times."""
        by = await self._began(given, ctx)
        if random.random() < 0.05:
            raise TaskError("not this time")
        return {"by": by}

    async def hang_sometimes(self, given: Any, ctx: Context) -> dict[str, str]:
        """Exceeds its timeout every second time."""
        by = await self._began(given, ctx)
        if random.random() < 0.5:
            await asyncio.sleep(60)
        return {"by": by}

    async def wait(self, given: Any, ctx: Context) -> dict[str, str]:
        """An API that takes seconds."""
        by = await self._began(given, ctx)
        await asyncio.sleep(random.uniform(1, 3))
        return {"by": by}

    async def wait_for_gate(self, given: Any, ctx: Context) -> dict[str, str]:
        """Goes on when the file that its item names is there; tells when it is stopped before."""
        by = await self._began(given, ctx)
        gate = Path(given["item"]["gate"])
        try:
            while not gate.exists():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self._journal.append_blocking("cancelled", by=by)
            raise
        return {"by": by}

    async def _began(self, given: Any, ctx: Context) -> str:
        by = uuid.uuid4().hex
        await self._journal.append("execution", **self._entry(by, given, ctx))
        return by

    def _entry(self, by: str, given: Any, ctx: Context) -> dict[str, Any]:
        return {
            "by": by,
            "worker": self._worker,
            "run": ctx.run_id,
            "step": ctx.step,
            "index": ctx.index,
            "attempt": ctx.attempt,
            "saw": sorted(executions_in(given)),
        }


async def serve(name: str, journal: Journal) -> None:
    """Serves both scopes until the process is ended."""
    handlers = Handlers(name, journal)
    served: list[Callable[..., dict[str, str] | Awaitable[Any]]] = [
        handlers.work, handlers.work_in_thread, handlers.make_list, handlers.fail_often, handlers.fail_rarely,
        handlers.hang_sometimes, handlers.wait, handlers.wait_for_gate,
    ]  # fmt: skip
    workers = [
        Worker(concurrency=_CONCURRENCY, name=name),
        Worker(concurrency=_CONCURRENCY, name=f"{name}/{SCOPE}", scope=SCOPE),
    ]
    for worker in workers:
        for handler in served:
            worker.step(handler.__name__)(handler)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _stop, workers)
    await asyncio.gather(*(worker.serve() for worker in workers))


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stop()


def _end_with_stdin() -> None:
    """Whoever started us may be killed and could not end us."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def main() -> None:
    """Runs the worker."""
    name, path = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    with Journal(Path(path)) as journal:
        asyncio.run(serve(name, journal))


if __name__ == "__main__":
    main()
