"""Several worker processes: each its own interpreter, started by spawn, since gRPC does not survive a fork."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ._flow import Flow
from ._sync import run_worker
from ._worker import Worker

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


def load_worker(reference: str, *, concurrency: int | None = None) -> Worker:
    """Finds `MODULE:ATTR`: a Worker, a Flow (served by a Worker of its own), or a function that returns either.

    Args:
        reference: such as `etl.flows:worker`; modules of the present folder are found.
        concurrency: most tasks at a time; None = the worker's own.

    Raises:
        ValueError: the text has no colon, or what it names is something else.
        ModuleNotFoundError: there is no such module.
        AttributeError: the module has no such attribute.
    """
    module_name, colon, path = reference.partition(":")
    if not (module_name and colon and path):
        raise ValueError(f"{reference!r} is not MODULE:ATTR, such as etl.flows:worker")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    if not isinstance(found, Worker | Flow) and callable(found):
        found = found()
    if isinstance(found, Flow):
        found = Worker(found)
    if not isinstance(found, Worker):
        raise ValueError(f"{reference} is {found!r}, neither a Worker nor a Flow")  # noqa: TRY004 the text is at fault
    if concurrency is not None:
        found.concurrency = concurrency
    return found


def _serve(reference: str, concurrency: int | None) -> None:
    """What each process does: serves until its parent passes a signal on, or is gone."""
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    run_worker(load_worker(reference, concurrency=concurrency), signals=(signal.SIGTERM,))


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def run_processes(reference: str, count: int, *, concurrency: int | None = None) -> int:
    """Serves with `count` processes until SIGTERM or SIGINT, which is passed on; a second signal stops at once.

    When one process fails, the others are drained.

    Args:
        reference: as for `load_worker`.
        count: number of processes, from 1.
        concurrency: most tasks at a time in each process; None = the worker's own.

    Returns:
        The exit code: 0 when every process ended well, else the first other one.
    """
    spawn = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        spawn.Process(target=_serve, args=(reference, concurrency), name=f"stepgres-worker-{number}")
        for number in range(1, count + 1)
    ]
    signals = 0

    def pass_on(number: int, _frame: object) -> None:
        nonlocal signals
        signals += 1
        _terminate(processes)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for process in processes:
            process.start()
            if signals:
                _terminate([process])
        waiting = {process.sentinel: process for process in processes}
        while waiting:
            for sentinel in wait(list(waiting)):
                ended = waiting.pop(cast("int", sentinel))
                ended.join()
                if ended.exitcode and not signals:
                    signals = 1
                    _terminate(list(waiting.values()))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # A process that was still starting when the signal came dies of it, which is no failure.
    fine = {0, None, -signal.SIGTERM}
    return next((process.exitcode or 0 for process in processes if process.exitcode not in fine), 0)


def _terminate(processes: list[BaseProcess]) -> None:
    for process in processes:
        if process.pid is not None and process.is_alive():
            process.terminate()  # SIGTERM: it drains
