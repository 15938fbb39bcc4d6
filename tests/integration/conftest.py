"""A real coordinator on a fresh database, and channels to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psycopg
import pytest

from stepgres_service.config import Settings
from stepgres_service.server import Coordinator
from tests.support.invariants import assert_invariants


@pytest.fixture
def database(database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a fresh database with our schema, in which nothing may be wrong when the test is over."""
    yield database
    if request.node.get_closest_marker("tampers") is None:
        asyncio.run(_look_at(database))


async def _look_at(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        await assert_invariants(conn)


@asynccontextmanager
async def running_coordinator(dsn: str, **settings: Any) -> AsyncIterator[Coordinator]:
    """A coordinator on a free port, stopped at the end."""
    coordinator = Coordinator(Settings(database_url=dsn, listen="127.0.0.1:0", **settings))
    await coordinator.start()
    try:
        yield coordinator
    finally:
        await coordinator.stop(0.2)


def channel_to(coordinator: Coordinator) -> grpc.aio.Channel:
    """A channel of its own connection to a coordinator."""
    return grpc.aio.insecure_channel(
        f"127.0.0.1:{coordinator.port}",
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", 20 << 20),
            ("grpc.max_send_message_length", 20 << 20),
        ],
    )


@pytest.fixture
async def coordinator(database: str) -> AsyncIterator[Coordinator]:
    """A coordinator with the default settings."""
    async with running_coordinator(database) as running:
        yield running


@pytest.fixture
async def channel(coordinator: Coordinator) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the coordinator."""
    async with channel_to(coordinator) as opened:
        yield opened


@pytest.fixture
def start_coordinator(database: str) -> Callable[..., Any]:
    """Starts further coordinators on the same database: `async with start_coordinator(lease_s=2) as other`."""
    return lambda **settings: running_coordinator(database, **settings)
