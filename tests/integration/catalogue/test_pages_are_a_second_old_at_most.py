"""The engine's catalogue on a real database, with a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from stepgres_service.engine.catalogue import Catalogue
from stepgres_service.errors import StepgresError
from stepgres_service.store.catalogue import CatalogueStore
from stepgres_service.store.pool import Database

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Clock:
    """Monotonic seconds that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def catalogue(database: str, clock: Clock) -> AsyncIterator[Catalogue]:
    pool = Database(database)
    await pool.open()
    yield Catalogue(CatalogueStore(pool), clock)
    await pool.close()


async def names(catalogue: Catalogue, limit: int = 50) -> list[str]:
    queues, _ = await catalogue.list_queues(("", 0), limit)
    return [queue.name for queue in queues]


async def test_a_page_is_read_again_after_a_second(catalogue: Catalogue, clock: Clock, conn: Connection) -> None:
    await conn.execute("select pgflow.create_flow('a')")
    assert await names(catalogue) == ["a"]
    await conn.execute("select pgflow.create_flow('b')")
    clock.now += 0.99
    assert await names(catalogue) == ["a"]
    assert await names(catalogue, 49) == ["a", "b"]  # another page
    clock.now += 0.01
    assert await names(catalogue) == ["a", "b"]


async def test_those_who_ask_together_share_one_answer_and_may_leave(catalogue: Catalogue) -> None:
    asking = [asyncio.create_task(catalogue.list_workers(("", ""), 50)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(answer is answers[1] for answer in answers[1:])


async def test_a_failure_is_not_kept(catalogue: Catalogue, conn: Connection) -> None:
    await conn.execute("alter function pgflow.read_queue rename to unreadable")
    with pytest.raises(StepgresError):
        await names(catalogue)
    await conn.execute("alter function pgflow.unreadable rename to read_queue")
    await conn.execute("select pgflow.create_flow('a')")
    assert await names(catalogue) == ["a"]


async def test_pages_that_are_kept_are_bounded(catalogue: Catalogue) -> None:
    for limit in range(1, 301):
        await catalogue.list_workers(("", ""), limit)
    assert len(catalogue._pages) == 256
