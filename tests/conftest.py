"""Fixtures of all tests: a server for the session, a migrated database and a connection for each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.cluster import Cluster, open_cluster

# Read once, when gRPC is first imported: its notes on connections that tests cut are noise among the results.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Its handlers of forks crash in the child when a server is started beside a busy client.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--pg chooses where PostgreSQL comes from."""
    parser.addoption(
        "--pg",
        choices=["auto", "embedded", "url", "container"],
        default="auto",
        help="PostgreSQL of the tests: embedded, url (DATABASE_URL), container (Docker); auto = url if set, else embedded",
    )


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Settings of the developer's shell must not steer a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("STEPGRES_", "PG")) and name not in ("STEPGRES_PG_BIN", "STEPGRES_TEST_IMAGE"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def pg_cluster(request: pytest.FixtureRequest, _clean_environment: None) -> Iterator[Cluster]:
    """The server of this process; makes empty and migrated databases."""
    kind = request.config.getoption("--pg")
    if kind == "auto":
        kind = "url" if os.environ.get("DATABASE_URL") else "embedded"
    with open_cluster(kind) as cluster:
        yield cluster
        cluster.close()


@pytest.fixture
def empty_database(pg_cluster: Cluster) -> Iterator[str]:
    """Address of a database without our schema."""
    dsn = pg_cluster.create_empty()
    yield dsn
    pg_cluster.drop(dsn)


@pytest.fixture
def database(pg_cluster: Cluster) -> Iterator[str]:
    """Address of a fresh database with our schema."""
    dsn = pg_cluster.create_migrated()
    yield dsn
    pg_cluster.drop(dsn)


@pytest.fixture
async def conn(database: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """A connection to the test's database, in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        yield connection
