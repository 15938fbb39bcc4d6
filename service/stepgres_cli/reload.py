"""`stepgres worker run --reload`: the worker as a child process that starts again when the code changes."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from stepgres_cli.errors import CliError, Exit, say


def run_reloading(command: Sequence[str], folder: Path) -> int:
    """Keeps a command running until SIGTERM or Ctrl-C; after each change of the code it stops and starts again.

    A command that ends by itself, such as for a mistake in the code, waits for the next change.

    Args:
        command: what serves; SIGTERM makes it finish its tasks and end, and so does the end of its standard input.
        folder: whose Python files are watched, with all folders in it.

    Returns:
        The exit code: how the command ended.

    Raises:
        CliError: the package that watches files is missing.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ModuleNotFoundError as error:
        raise CliError("--reload needs watchfiles; install it with: pip install 'stepgres[reload]'") from error

    stopping = threading.Event()
    child = _start(command)

    def stop(_number: int, _frame: object) -> None:
        # A second signal is passed on, too: it ends the tasks at hand.
        stopping.set()
        if child.poll() is None:
            child.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    say(f"reload: watching the Python files of {folder}")
    for changes in watch(folder, watch_filter=PythonFilter(), stop_event=stopping, raise_interrupt=False):
        if stopping.is_set():
            break
        names = ", ".join(sorted({Path(path).name for _, path in changes})[:3])
        say(f"reload: {names} changed; the worker starts again when its tasks are finished")
        if child.poll() is None:
            child.terminate()
        child.wait()
        if not stopping.is_set():
            child = _start(command)
            if stopping.is_set():  # the signal came in between, and met the child before
                child.terminate()
    code = child.wait()
    return int(Exit.OK) if code == -signal.SIGTERM else abs(code)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # Deaf to Ctrl-C, which means the two of us and is passed on; the pipe tells it when this process is killed.
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
