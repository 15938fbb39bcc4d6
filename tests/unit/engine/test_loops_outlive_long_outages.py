"""What has failed a thousand times in a row tries once more."""

from __future__ import annotations

import asyncio
import random

import pytest

from stepgres_service.engine.loop import Loop
from stepgres_service.errors import Unavailable
from stepgres_service.store.lane import Lane, LaneDown
from stepgres_service.store.listen import Listener
from stepgres_service.store.pool import Database
from stepgres_service.store.tasks import PayloadLimits, TaskStore

TRIES = 1500
#: Nobody listens on port 1.
NOWHERE = "host=127.0.0.1 port=1 dbname=none"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest pause that the backoff may choose."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low)


class Failing(Loop):
    """Fails until the last try."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0
        self.done = asyncio.Event()

    async def run_once(self) -> float:
        self.tries += 1
        if self.tries < TRIES:
            raise Unavailable("away")
        self.done.set()
        return 60.0


async def test_a_loop() -> None:
    loop = Failing()
    loop.start()
    async with asyncio.timeout(30):
        await loop.done.wait()
    await loop.stop()
    assert loop.healthy


async def test_a_lane() -> None:
    database = Database(NOWHERE)
    lane = Lane(database, TaskStore(database, PayloadLimits()))
    for _ in range(TRIES):
        await lane.recover(LaneDown("away"))
    with pytest.raises(LaneDown):
        await lane.exchange(None, [])


async def test_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, enough = 0, asyncio.Event()

    async def connect(self: Database, *, direct: bool = False) -> None:
        nonlocal tried
        tried += 1
        if tried == TRIES:
            enough.set()
        raise OSError

    monkeypatch.setattr(Database, "connect", connect)
    listener = Listener(Database(NOWHERE), {}, list)
    listener.start()
    async with asyncio.timeout(30):
        await enough.wait()
    await listener.stop()
