"""A PostgreSQL that is stopped at once, has no connection left, or no room on its disk; real processes around it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from stepgres_service.dev.process import free_port
from tests.acceptance.processes import stepgres
from tests.acceptance.system import LONG_LEASE, System, system
from tests.chaos.cluster import Database

pytestmark = pytest.mark.slow


def started(folder: Path) -> Database:
    server = Database(folder, free_port())
    server.start()
    server.prepare()
    return server


@pytest.fixture
def server(state_folder: Path) -> Iterator[Database]:
    server = started(state_folder)
    yield server
    server.stop()


async def unhealthy(running: System) -> None:
    """Waits until a coordinator says that it cannot work: the other one may have nothing to do."""
    while True:
        for node in running.coordinators:
            if (await asyncio.to_thread(stepgres, "health", target=node.address)).returncode:
                return


async def load_until(running: System, over: asyncio.Event) -> int:
    """Starts 200 runs again and again; returns how often they were accepted."""
    batches = 0
    while not over.is_set():
        await running.start_diamonds(200)
        batches += 1
    return batches


def fill(file: Path) -> None:
    """Takes what is left of a disk."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate", "kill"])
async def test_it_is_stopped_at_once_under_load(server: Database, tmp_path: Path, number: int) -> None:
    async with system(server.dsn, tmp_path, settings=LONG_LEASE) as running:
        run = await running.start_gated(40)
        for _ in range(3):
            begun = len(running.executions())
            await running.start_diamonds(200)
            await running.until(lambda begun=begun: len(running.executions()) > begun + 200)
            await asyncio.to_thread(server.kill, number)
            await asyncio.to_thread(server.restart)
        running.gate.touch()
        assert len((await run.result(timeout=60))["each"]) == 40
        assert (await running.finish()).runs == 601


async def test_it_has_no_connection_left(server: Database, tmp_path: Path) -> None:
    async with system(server.dsn, tmp_path, settings=LONG_LEASE) as running:
        run = await running.start_gated(40)
        await running.start_diamonds(200)
        with ExitStack() as hoard:
            first = hoard.enter_context(psycopg.connect(server.dsn, autocommit=True))
            while True:
                # Ours is the free slot that somebody else has lost.
                first.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name <> 'hoard' and backend_type = 'client backend' and pid <> pg_backend_pid()"
                )
                try:
                    hoard.enter_context(psycopg.connect(server.dsn, application_name="hoard"))
                except psycopg.OperationalError:
                    break
            await unhealthy(running)
            running.gate.touch()
        assert len((await run.result(timeout=60))["each"]) == 40
        findings = await running.finish()
        assert (findings.executed_twice, findings.runs) == (0, 201)


@pytest.fixture
def small_disk(state_folder: Path) -> Iterator[Path]:
    disk = state_folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m,mode=0711", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk of a size can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_its_disk_is_full(small_disk: Path, tmp_path: Path) -> None:
    server = started(small_disk)
    try:
        async with system(server.dsn, tmp_path, settings=LONG_LEASE) as running:
            run = await running.start_gated(40)
            await running.start_diamonds(200)
            running.gate.touch()
            fill(small_disk / "filler")
            # A server has room in the files that it has; somebody has to go on until that is used up.
            loading = asyncio.create_task(load_until(running, full := asyncio.Event()))
            await unhealthy(running)
            (small_disk / "filler").unlink()
            await asyncio.to_thread(server.restart)
            full.set()
            batches = await loading
            assert len((await run.result(timeout=60))["each"]) == 40
            assert (await running.finish()).runs == 201 + 200 * batches
    finally:
        server.stop()
