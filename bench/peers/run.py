"""Runs one peer in a database of its own: warmed up, its workers waiting, then all handed in at once, until the end."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from bench.peers.environment import NotMeasured
from bench.stack import ROOT, log_folder
from stepgres_service.dev import EmbeddedPostgres

#: Seconds that a process may take to set up.
_READY_S = 60.0
#: Seconds between two looks at how many tasks have ended.
_LOOK_S = 0.25


@dataclass(frozen=True)
class Peer:
    """A peer, and how it is counted."""

    #: Name of its module and its lock in bench/peers, and of its database.
    name: str
    #: Tasks of what is handed in as one.
    tasks: int
    #: How many are handed in, in a full and in a quick run.
    units: tuple[int, int]
    #: Worker processes.
    workers: int
    #: SQL that counts the tasks that have ended.
    finished: LiteralString
    #: Schema and name of the table that is analysed when all is handed in, as autovacuum would within a minute.
    analyse: tuple[str, ...]
    #: What its work lacks that ours has, or has that ours lacks.
    differs: str


@dataclass(frozen=True)
class Pace:
    """What a peer did."""

    #: Tasks per second from the first call that hands them in until the last has ended, or the window is over.
    per_s: float
    #: The same from the moment when all were handed in: execution alone; None when nothing was left by then.
    drain_per_s: float | None
    #: Whether all ended within the window.
    ended: bool


def about(peer: str, python: Path) -> str:
    """The peer's package, version and settings, as its own program tells them."""
    told = subprocess.run(_command(peer, python, "about"), cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        raise NotMeasured(f"its program does not start: {told.stderr.strip()[-200:]}")
    return told.stdout.strip()


def pace(peer: Peer, python: Path, server: EmbeddedPostgres, units: int, window_s: float) -> Pace:
    """Hands in units to a peer whose workers are connected, and counts the tasks that ended.

    Before that, a tenth of the units ends and the database is vacuumed and analysed: it is as in a system that has
    been up for a while.

    Args:
        peer: whose module in bench.peers runs.
        python: interpreter of its environment.
        server: where a database of the peer's name is made.
        units: what is handed in: jobs or workflows.
        window_s: seconds after which what has ended is counted, ready or not.

    Raises:
        NotMeasured: a process of the peer failed.
    """
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(peer.name)))
    address = server.dsn(peer.name)
    with ExitStack() as processes:
        setup = processes.enter_context(_role(peer.name, python, "setup", address))
        if setup.wait(_READY_S):
            raise NotMeasured(f"its setup failed; see {_log(peer.name, 'setup')}")
        conn = processes.enter_context(psycopg.connect(address, autocommit=True))
        working = [
            processes.enter_context(_role(peer.name, python, "work", address, number=n)) for n in range(peer.workers)
        ]
        for process in working:
            _expect(process)
        watch = _Watch(peer, conn, working)
        for count in (units // 10, units):
            with _role(peer.name, python, "enqueue", address, str(count)) as handing_in:
                _expect(handing_in)
                conn.execute("vacuum analyze")
                # What was written before is not the peer's to wait for.
                conn.execute("checkpoint")
                found = watch.until_ended(handing_in, count * peer.tasks, window_s)
            if count < units and not found.ended:
                raise NotMeasured(f"its warm-up did not end within {window_s:.0f} s; see {log_folder()}")
        return found


class _Watch:
    """Counts what a peer's workers have ended."""

    def __init__(self, peer: Peer, conn: psycopg.Connection, working: list[subprocess.Popen[str]]) -> None:
        self._peer = peer
        self._conn = conn
        self._working = working
        self._before = 0
        self._last = 0

    def until_ended(self, handing_in: subprocess.Popen[str], total: int, window_s: float) -> Pace:
        """Gives the start signal and waits until the tasks have ended, at most for the window."""
        assert handing_in.stdin is not None
        handed_in: tuple[int, float] | None = None
        started = time.perf_counter()
        print("go", file=handing_in.stdin, flush=True)
        while True:
            time.sleep(_LOOK_S)
            count, at = self._count() - self._before, time.perf_counter() - started
            if handed_in is None and _said(handing_in, 0):
                handed_in = count, at
                if self._peer.analyse:
                    self._conn.execute(sql.SQL("analyze {}").format(sql.Identifier(*self._peer.analyse)))
            if count >= total or at >= window_s:
                break
            if any(process.poll() is not None for process in self._working) or handing_in.poll():
                raise NotMeasured(f"a process of it ended early; see {log_folder()}")
        if not count:
            raise NotMeasured(
                f"none of {total} tasks ended within {window_s:.0f} s; see {_log(self._peer.name, 'work')}"
            )
        self._before += count
        if handed_in is None or count <= handed_in[0]:
            return Pace(count / at, None, count >= total)
        return Pace(count / at, (count - handed_in[0]) / (at - handed_in[1]), count >= total)

    def _count(self) -> int:
        row = self._conn.execute(self._peer.finished).fetchone()
        assert row is not None
        count = int(row[0])
        if count < self._last:
            raise NotMeasured(f"it has removed {self._last - count} ended tasks before they were counted")
        self._last = count
        return count


def _expect(process: subprocess.Popen[str]) -> None:
    """Waits until a process says that it is ready."""
    if not _said(process, _READY_S):
        raise NotMeasured(f"a process of it is not ready after {_READY_S:.0f} s; see {log_folder()}")


def _said(process: subprocess.Popen[str], timeout_s: float) -> bool:
    """Whether the process said a word within the time."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], timeout_s)[0] and process.stdout.readline())


def _command(peer: str, python: Path, role: str, *rest: str) -> list[str]:
    return [str(python), "-m", "bench.peers.roles", peer, role, *rest]


def _log(peer: str, role: str, number: int = 0) -> Path:
    return log_folder() / f"peer-{peer}-{role}-{number}.log"


@contextmanager
def _role(peer: str, python: Path, role: str, *rest: str, number: int = 0) -> Iterator[subprocess.Popen[str]]:
    with _log(peer, role, number).open("wb") as log:
        process = subprocess.Popen(
            _command(peer, python, role, *rest),
            cwd=ROOT,
            # Our own environment's packages must not be found by theirs.
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
