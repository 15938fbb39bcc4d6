"""The system under test: a durable PostgreSQL on a disk, one coordinator, one worker, each a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from stepgres_service.dev import EmbeddedPostgres
from stepgres_service.store.migrate import Migrator
from stepgres_worker import Client, Unavailable

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stack:
    """Addresses of a running system."""

    #: Direct address of the database.
    dsn: str
    #: host:port of the coordinator.
    target: str
    #: Folder of the logs.
    logs: Path


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
def running_stack(worker: str | None, concurrency: int) -> Iterator[Stack]:
    """Starts database, coordinator and (unless worker is None) one worker process; ends them all."""
    folder = Path(os.environ.get("STEPGRES_BENCH_DIR") or ROOT / ".bench").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    refuse_memory_disk(folder)
    data = Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    try:
        with EmbeddedPostgres(data, ephemeral=True, durable=True, bin_dir="wheel") as server:
            Migrator(server.dsn()).up()
            stack = Stack(server.dsn(), f"127.0.0.1:{free_port()}", logs)
            with _processes(stack, worker, concurrency):
                yield stack
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def _processes(stack: Stack, worker: str | None, concurrency: int) -> Iterator[None]:
    env = {
        **os.environ,
        "STEPGRES_DATABASE_URL": stack.dsn,
        "STEPGRES_LISTEN": stack.target,
        "STEPGRES_TARGET": stack.target,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    cli = [sys.executable, "-m", "stepgres_cli"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (stack.logs / "coordinator.log").open("wb") as log:
            started.append(subprocess.Popen([*cli, "serve"], env=env, stdout=log, stderr=log))
        wait_ready(stack.target)
        if worker is not None:
            with (stack.logs / "worker.log").open("wb") as log:
                command = [*cli, "worker", "run", worker, "--concurrency", str(concurrency)]
                started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            time.sleep(1.5)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
