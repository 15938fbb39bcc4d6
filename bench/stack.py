"""The system under test: a durable PostgreSQL on a disk, coordinators, workers, each a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from stepgres_service.dev import EmbeddedPostgres
from stepgres_service.store.migrate import Migrator
from stepgres_worker import Client, Unavailable

ROOT = Path(__file__).resolve().parent.parent
_STEPGRES = (sys.executable, "-m", "stepgres_cli")


@dataclass(frozen=True)
class Stack:
    """Addresses and processes of a running system."""

    #: Direct address of the database.
    dsn: str
    #: host:port of each coordinator.
    targets: tuple[str, ...]
    #: Process ids.
    postgres: int
    coordinators: tuple[int, ...]
    workers: tuple[int, ...]

    @property
    def target(self) -> str:
        """The first coordinator."""
        return self.targets[0]

    @property
    def engine_pids(self) -> tuple[int, ...]:
        """Database and coordinators: what the engine costs whatever the workers do."""
        return (self.postgres, *self.coordinators)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def refuse_memory_disk(folder: Path) -> None:
    """Raises SystemExit when the folder is kept in memory: a commit would cost nothing there."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        raise SystemExit(f"bench: {folder} is kept in memory; set STEPGRES_BENCH_DIR to a folder on a disk")


def assert_durable(dsn: str) -> str:
    """Checks that nothing was tuned away; returns what was found, for the report."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = {}
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            row = conn.execute("select current_setting(%s)", (name,)).fetchone()
            found[name] = row[0] if row else None
        if set(found.values()) != {"on"}:
            raise SystemExit(f"bench: the server is not durable: {found}")
        row = conn.execute("select version()").fetchone()
    return row[0].split(" on ")[0] if row else ""


def commit_cost_ms(dsn: str, count: int = 200) -> float:
    """Milliseconds of a small durable commit, one after the other."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create table bench_commit (n int)")
        started = time.perf_counter()
        for n in range(count):
            conn.execute("insert into bench_commit values (%s)", (n,))
        elapsed = time.perf_counter() - started
        conn.execute("drop table bench_commit")
    return elapsed / count * 1000


@contextmanager
def durable_server() -> Iterator[EmbeddedPostgres]:
    """Starts the database server alone, on a disk and with nothing tuned away; ends it and removes its data."""
    folder = Path(os.environ.get("STEPGRES_BENCH_DIR") or ROOT / ".bench").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    refuse_memory_disk(folder)
    data = Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
    # Only counts statements: what a benchmark looks at, no user needs it.
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    try:
        with EmbeddedPostgres(data, ephemeral=True, durable=True, bin_dir="wheel", settings=settings) as server:
            yield server
    finally:
        shutil.rmtree(data, ignore_errors=True)


def log_folder() -> Path:
    """Where the processes of a benchmark write their logs."""
    folder = Path(os.environ.get("STEPGRES_BENCH_DIR") or ROOT / ".bench").resolve() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def running_stack(
    worker: str | None = None,
    concurrency: int = 100,
    *,
    workers: int = 1,
    coordinators: int = 1,
    server: EmbeddedPostgres | None = None,
    program: tuple[list[str], dict[str, str]] | None = None,
) -> Iterator[Stack]:
    """Starts database, coordinators and workers, each a process of its own; ends them all.

    Args:
        worker: MODULE:ATTR of the worker; None = no worker.
        concurrency: credits of each.
        workers: worker processes, spread over the coordinators.
        coordinators: coordinator processes.
        server: a running server whose own database is still empty, left running; None = one of its own.
        program: a worker in another language, by its command and what its environment has besides the target.
    """
    with ExitStack() as processes:
        if server is None:
            server = processes.enter_context(durable_server())
        logs = log_folder()
        Migrator(server.dsn()).up()
        with psycopg.connect(server.dsn(), autocommit=True) as conn:
            conn.execute("create extension pg_stat_statements schema public")
        assert server.pid is not None
        targets = [f"127.0.0.1:{free_port()}" for _ in range(coordinators)]
        env = {"STEPGRES_DATABASE_URL": server.dsn()}
        serving = [
            processes.enter_context(
                _process([*_STEPGRES, "serve"], {**env, "STEPGRES_LISTEN": target}, logs / f"serve-{n}.log")
            )
            for n, target in enumerate(targets)
        ]
        for target in targets:
            wait_ready(target)
        working = [
            processes.enter_context(
                _process(
                    [*_STEPGRES, "worker", "run", worker, "--concurrency", str(concurrency)],
                    {"STEPGRES_TARGET": targets[n % coordinators]},
                    logs / f"worker-{n}.log",
                )
            )
            for n in range(workers)
            if worker is not None
        ]
        if program is not None:
            command, told = program
            working.append(
                processes.enter_context(
                    _process(command, {**told, "STEPGRES_TARGET": targets[0]}, logs / "program.log")
                )
            )
        _wait_connected(targets[0], len(working))
        yield Stack(server.dsn(), tuple(targets), server.pid, tuple(serving), tuple(working))


@contextmanager
def _process(command: list[str], env: dict[str, str], log: Path) -> Iterator[int]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **env},
            stdout=output,
            stderr=output,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_connected(target: str, workers: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    with Client(target) as client:
        while len(client.list_workers(page_size=1000).items) < workers:
            if time.monotonic() > deadline:
                raise SystemExit("bench: the workers do not connect; see .bench/logs")
            time.sleep(0.05)


def wait_ready(target: str, timeout_s: float = 20.0) -> None:
    """Waits until the coordinator answers."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with Client(target) as client:
                client.list_flows(page_size=1)
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: no coordinator answers at {target}; see .bench/logs") from None
            time.sleep(0.1)
