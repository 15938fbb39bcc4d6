"""The processes of the demo: a coordinator and workers, each in a session of its own, none left behind.

Ctrl-C reaches only us and we stop the others in order; if we are killed, their standard input, our pipe, closes and
they stop by themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent


@dataclass
class Fleet:
    """Children that write into log files of one folder."""

    #: Where the logs go.
    folder: Path
    #: Children in the order of their start.
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *words: str, cwd: Path = HERE, **environment: str) -> subprocess.Popen[bytes]:
        """Run `stepgres …` with this environment on top of ours."""
        command = (sys.executable, "-m", "stepgres_cli", *words, "--stop-with-stdin")
        return self.run(name, *command, cwd=cwd, **environment)

    def run(self, name: str, *command: str, cwd: Path = HERE, **environment: str) -> subprocess.Popen[bytes]:
        """Run a command that stops when its standard input closes; `name` is that of its log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise if a child has ended: nothing else would tell why the run stands still."""
        for child in self.children:
            if child.poll() is not None:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"process {child.pid} ended with {child.returncode}:\n{logs}")

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the last started first, so that workers hand in their results before the coordinator goes."""
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def descendants() -> list[psutil.Process]:
    """Every process below this one; each knows its start time, so a number given to another program later is not it."""
    return psutil.Process().children(recursive=True)


def left_over(known: list[psutil.Process], patience_s: float = 3.0) -> list[int]:
    """Numbers of those that still live after so long."""
    _, alive = psutil.wait_procs(known, timeout=patience_s)
    return [process.pid for process in alive]
