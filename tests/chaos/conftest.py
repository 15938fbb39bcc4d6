"""A small system that has worked and settled; each test plants something in a copy of it."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepgres_service.dev.process import free_port
from tests.chaos.cluster import add_audit, coordinator, until_ready, worker
from tests.chaos.drill import judge, settle
from tests.chaos.journal import Journal, read_journal
from tests.chaos.load import Load
from tests.support.cluster import Cluster

#: Runs after which the load stops.
_RUNS = 100


@dataclass(frozen=True)
class Settled:
    """What the checker reads."""

    dsn: str
    journal: Path

    def execute(self, statement: str, **values: Any) -> None:
        """Changes the database."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute(statement, values)

    def row(self, statement: str, **values: Any) -> tuple[Any, ...]:
        """The first row of an answer."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            found = conn.execute(statement, values).fetchone()
        assert found is not None, statement
        return found

    def write(self, kind: str, **told: Any) -> None:
        """Adds an entry to the journal."""
        with Journal(self.journal) as journal:
            journal.append_blocking(kind, **told)

    def seen_runs(self) -> list[str]:
        """Runs whose outputs a client has read."""
        return [entry["run"] for entry in read_journal(self.journal) if entry["kind"] == "seen"]

    def check(self) -> dict[str, int]:
        """The violations that the checker finds, and how many of each."""
        code, findings = judge(self.dsn, self.journal)
        found = findings["violations"]
        assert code == (1 if any(found.values()) else 0)
        return {kind: count for kind, count in found.items() if count}


@pytest.fixture(scope="session")
async def worked(pg_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settled]:
    """The system after some runs of all kinds; its processes have ended."""
    folder = tmp_path_factory.mktemp("chaos")
    dsn, journal_path, port = pg_cluster.create_migrated(), folder / "journal.jsonl", free_port()
    add_audit(dsn)
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(Journal(journal_path))
        serving = coordinator(1, port, dsn, folder, {})
        working = worker(1, f"127.0.0.1:{port}", journal_path, folder)
        for node in (serving, working):
            node.start()
            stack.callback(node.stop)
        await until_ready([serving])
        load = Load([f"127.0.0.1:{port}"], journal, seed=1)
        stack.push_async_callback(load.close)
        await load.define()
        loading = asyncio.create_task(load.run())
        while not _has_worked(journal_path):
            assert not loading.done(), await loading
            await asyncio.sleep(0.05)
        load.stop()
        await loading
        await settle(dsn)
    yield Settled(dsn, journal_path)
    pg_cluster.drop(dsn)


def _has_worked(journal: Path) -> bool:
    kinds = Counter(entry["kind"] for entry in read_journal(journal))
    return kinds["accepted"] >= _RUNS and kinds["seen"] > 0


@pytest.fixture
def settled(worked: Settled, pg_cluster: Cluster, tmp_path: Path) -> Iterator[Settled]:
    """A copy of it."""
    dsn = pg_cluster.clone(worked.dsn)
    yield Settled(dsn, Path(shutil.copy(worked.journal, tmp_path)))
    pg_cluster.drop(dsn)
