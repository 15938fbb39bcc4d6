"""The processes of a chaos run: a durable PostgreSQL, coordinators, workers; each can be killed, stopped, started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from stepgres_service.dev import EmbeddedPostgres, EmbeddedPostgresError
from stepgres_service.store.migrate import Migrator

_REPOSITORY = Path(__file__).resolve().parents[2]
#: Longest wait for a process to be ready, or gone.
_PATIENCE_S = 60.0


class Database:
    """A durable PostgreSQL server that keeps its address however often it dies.

    Args:
        folder: for its data, and `postgres.log` of all its lives.
        port: of 127.0.0.1 that it listens on.
    """

    name = "postgres"

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._server = self._new()
        #: Address of the database; set by start().
        self.dsn = ""
        #: Everything that servers which have ended wrote.
        self.log = folder / "postgres.log"

    def start(self) -> None:
        """Starts it; after a kill it recovers first. Waits for what is left of the server before."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._server.start()
                break
            except (EmbeddedPostgresError, psycopg.Error):
                # Connections of the killed server see its end a moment later, and hold its memory until then.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                self._server = self._new()
        self.dsn = self._server.tcp_dsn()

    def prepare(self) -> None:
        """Makes our schema; refuses a server that may forget what it has committed."""
        Migrator(self.dsn).up()
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                row = conn.execute("select current_setting(%s)", [setting]).fetchone()
                assert row == ("on",), f"{setting} is {row}; a chaos run needs a durable server"

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends the server with a signal: SIGKILL as a crash, SIGQUIT as `pg_ctl stop -m immediate`."""
        server = self._running()
        server.send_signal(number)
        server.wait(_PATIENCE_S)

    def kill_backend(self) -> None:
        """Kills one connection's process: the server ends all others and recovers by itself.

        Waits for a connection when there is none, since coordinators may be on their way back.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not any(_kill_connection(child) for child in self._running().children()):
            if time.monotonic() > deadline:
                raise TimeoutError("nobody is connected to the database")
            time.sleep(0.1)

    def restart(self) -> None:
        """Starts it after a kill."""
        self.stop()
        self._server = self._new()
        self.start()

    def processes(self) -> list[psutil.Process]:
        """The server and its connections."""
        server = self._running()
        return [server, *server.children(recursive=True)]

    def stop(self) -> None:
        """Ends it in order, even when it was stopped by a signal, and keeps its log."""
        if self._server.pid is not None:
            signal_all(self.processes(), signal.SIGCONT)
        self._server.stop()
        latest = self._folder / "data" / "postgres.log"
        if latest.exists():
            with self.log.open("ab") as kept:
                kept.write(latest.read_bytes())
            latest.unlink()

    def _new(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self._folder / "data", port=self._port, durable=True)

    def _running(self) -> psutil.Process:
        assert self._server.pid is not None, "the server does not run"
        return psutil.Process(self._server.pid)


class Node:
    """A coordinator or a worker: a process that is started again when it was killed.

    Args:
        name: such as `worker-1`; each life has `.1`, `.2`, … behind it.
        command: makes the arguments behind `python -m` of the life with this name.
        env: settings.
        log: file of what all lives print.
    """

    def __init__(self, name: str, command: Callable[[str], list[str]], env: dict[str, str], log: Path) -> None:
        self.name = name
        self._command = command
        self._env = env
        self._log = log
        #: host:port that a coordinator listens on; empty for a worker.
        self.address = env.get("STEPGRES_LISTEN", "")
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def life(self) -> str:
        """Name of the present life."""
        return f"{self.name}.{self._lives}"

    def start(self) -> None:
        """Begins the next life."""
        self._lives += 1
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEPGRES_", "PG"))}
        with self._log.open("ab") as output:
            output.write(f'{{"life": "{self.life}"}}\n'.encode())
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command(self.life)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=_REPOSITORY, env={**kept, **self._env},
            )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """Its process."""
        assert self._process is not None
        return [psutil.Process(self._process.pid)]

    def check(self) -> None:
        """Raises RuntimeError when it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{self.life} ended by itself with {self._process.returncode}; see {self._log}")

    def kill(self) -> None:
        """Ends it at once: kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in order."""
        self._end(signal.SIGTERM)

    def identity(self) -> str:
        """Id of a coordinator's present life, as sessions have it; empty until it is ready."""
        begun = self._log.read_text().rpartition(f'{{"life": "{self.life}"}}')[2]
        for line in begun.splitlines():
            if '"coordinator ready"' in line:
                return str(json.loads(line)["coordinator"])
        return ""

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()


def add_audit(dsn: str) -> None:
    """Makes the database write down what the checker wants to know."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute((Path(__file__).parent / "audit.sql").read_bytes())


def coordinator(number: int, port: int, dsn: str, folder: Path, settings: dict[str, str]) -> Node:
    """A coordinator that serves on a port of 127.0.0.1."""
    env = {
        "STEPGRES_DATABASE_URL": dsn, "STEPGRES_LISTEN": f"127.0.0.1:{port}", "STEPGRES_LOG_FORMAT": "json", **settings
    }  # fmt: skip
    name = f"coordinator-{number}"
    return Node(name, lambda _: ["stepgres_cli", "serve", "--stop-with-stdin"], env, folder / f"{name}.log")


def worker(number: int, target: str, journal: Path, folder: Path) -> Node:
    """A worker that knows this address of the coordinators."""
    name = f"worker-{number}"
    env = {"STEPGRES_TARGET": target}
    return Node(name, lambda life: ["tests.chaos.worker", life, str(journal)], env, folder / f"{name}.log")


def _kill_connection(child: psutil.Process) -> bool:
    """Kills a process of the server if it serves a connection; False when it does not, or has ended meanwhile."""
    try:
        if "stepgres stepgres" not in " ".join(child.cmdline()):
            return False
        child.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def signal_all(processes: list[psutil.Process], number: int) -> None:
    """Sends a signal to those that are still there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


async def until_ready(nodes: list[Node]) -> None:
    """Waits until coordinators serve.

    Raises:
        RuntimeError: one ended, or took too long.
    """
    deadline = time.monotonic() + _PATIENCE_S
    for node in nodes:
        while not node.identity():
            node.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{node.life} is not ready after {_PATIENCE_S:.0f} s")
            await asyncio.sleep(0.05)


@contextmanager
def work_folder(keep: Path | None = None) -> Iterator[Path]:
    """A new folder for one run, gone at the end.

    Args:
        keep: make it here, and leave it.

    Raises:
        FileExistsError: `keep` exists.
    """
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    # Not /tmp, which may be kept in memory. Open to the user that root steps down to.
    with tempfile.TemporaryDirectory(prefix="stepgres-chaos-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
