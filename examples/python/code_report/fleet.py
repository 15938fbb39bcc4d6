"""The processes of the demo: a coordinator and workers, each in a session of its own, none left behind.

Ctrl-C reaches only us and we stop the others in order; if we are killed, their standard input, our pipe, closes and
they stop by themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass
class Fleet:
    """Children that write into log files of one folder."""

    #: Where the logs go.
    folder: Path
    #: Children in the order of their start.
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Run `stepgres …` with this environment on top of ours."""
        with (self.folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "stepgres_cli", *words, "--stop-with-stdin"],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=HERE, start_new_session=True,
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


def descendants() -> dict[int, str]:
    """Every process below this one, with its start time: a number alone may be given to another program later."""
    table = _process_table()
    below: dict[int, str] = {}
    todo = [os.getpid()]
    while todo:
        parent = todo.pop()
        for pid, (its_parent, born) in table.items():
            if its_parent == parent and pid not in below:
                below[pid] = born
                todo.append(pid)
    return below


def left_over(known: dict[int, str], patience_s: float = 3.0) -> list[int]:
    """Those of these processes that still live after so long."""
    deadline = time.monotonic() + patience_s
    while True:
        table = _process_table()
        alive = [pid for pid, born in known.items() if pid in table and table[pid][1] == born]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)


def _process_table() -> dict[int, tuple[int, str]]:
    """Parent and start time of every process: from /proc, which small images have where they lack `ps`; else by ps."""
    if Path("/proc/self/stat").exists():
        found = (_read_stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return dict(filter(None, found))
    answer = subprocess.run(["ps", "-axo", "pid=,ppid=,lstart="], capture_output=True, text=True, check=True)
    rows = (line.split(None, 2) for line in answer.stdout.splitlines())
    return {int(pid): (int(parent), born) for pid, parent, born in rows}


def _read_stat(entry: Path) -> tuple[int, tuple[int, str]] | None:
    try:
        # Fields after the name, which may hold blanks and brackets: state, parent, …, and start time as the 20th.
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # it ended meanwhile
    return (int(entry.name), (int(fields[1]), fields[19])) if fields[0] != "Z" else None
