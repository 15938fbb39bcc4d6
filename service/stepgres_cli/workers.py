"""Finding the worker in `MODULE:ATTR`, and running several processes of it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgres_cli.errors import CliError, Exit, say, usage

if TYPE_CHECKING:
    from stepgres_worker import Worker


def load_worker(location: str, target: str | None, concurrency: int | None) -> Worker:
    """The worker that `MODULE:ATTR` names.

    Args:
        location: the attribute is a Worker, a Flow or a list of flows; the last two make a Worker.
        target: coordinator for a Worker that names none itself; None = STEPGRES_TARGET, else 127.0.0.1:50051.
        concurrency: tasks at once; None leaves the worker's own.

    Raises:
        CliError: there is no such module or attribute, or it is something else.
    """
    from stepgres_worker import Flow, Worker

    if target is not None:
        os.environ["STEPGRES_TARGET"] = target  # before the import: a module's Worker looks when it is made
    found = _import(location)
    if isinstance(found, Flow):
        found = [found]
    if isinstance(found, list | tuple) and found and all(isinstance(item, Flow) for item in found):
        found = Worker(*found)
    if not isinstance(found, Worker):
        raise usage(f"{location}: {type(found).__name__} found; a Worker, a Flow or a list of flows is needed.")
    if concurrency is not None:
        found.concurrency = concurrency
    return found


def _import(location: str) -> Any:
    module_name, colon, attribute = location.partition(":")
    if not colon or not module_name or not attribute:
        raise usage(f"{location}: written as MODULE:ATTR, such as hello:worker.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(location, error) from error  # the module exists, and lacks one itself
        raise usage(f"{location}: no module {module_name!r} in {here} or on the path; check the name.") from error
    except Exception as error:
        raise _broken(location, error) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise usage(f"{location}: {module_name} has no {name!r}; check the name after the colon.")
        found = getattr(found, name)
    return found


def _broken(location: str, error: Exception) -> CliError:
    """The module itself fails; whoever wrote it needs the traceback."""
    traceback.print_exception(error)
    return usage(f"{location}: its import failed with {type(error).__name__}: {error}; see the traceback above.")


def worker_command(location: str, processes: int, concurrency: int | None, target: str | None) -> list[str]:
    """The command of a worker that drains when the pipe on its standard input closes."""
    command = [sys.executable, "-m", "stepgres_cli", "worker", "run", location, "--stop-with-stdin"]
    command += ["--processes", str(processes)] if processes > 1 else []
    command += ["--concurrency", str(concurrency)] if concurrency is not None else []
    command += ["--target", target] if target is not None else []
    return command


def run_processes(location: str, count: int, concurrency: int | None, target: str | None) -> int:
    """Run so many worker processes until they end; signals are passed on to all. Fresh processes, since gRPC does not
    survive a fork. Their standard input is our pipe: it closes if we are killed, and they drain.

    Returns:
        The first exit code that is not 0, else 0.
    """
    command = worker_command(location, 1, concurrency, target)
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) for _ in range(count)]

    stopping = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        stopping.set()
        for child in children:
            if child.poll() is None:
                child.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    return _wait(children, stopping)


def _wait(children: list[subprocess.Popen[bytes]], stopping: threading.Event) -> int:
    """Until all have ended; when one fails, the others are told to stop: half a service helps nobody unseen."""

    def code_of(child: subprocess.Popen[bytes]) -> int:
        code = child.poll() or 0
        # Told to stop before it could listen: still importing, it has ended as it should.
        return 0 if code == -signal.SIGTERM and stopping.is_set() else code

    failed = int(Exit.OK)
    while any(child.poll() is None for child in children):
        bad = next(filter(None, map(code_of, children)), 0)
        if bad and not failed:
            failed = bad if bad > 0 else Exit.REFUSED
            say(f"error: a worker process ended with {bad}; the others are stopping.")
            for child in children:
                if child.poll() is None:
                    child.terminate()
        time.sleep(0.1)
    return failed or next((abs(code) for code in map(code_of, children) if code), 0)
