"""The SDK's client against a real coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient


@pytest.fixture
async def client(coordinator: Coordinator) -> AsyncIterator[AsyncClient]:
    """A client of the coordinator."""
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as opened:
        yield opened
