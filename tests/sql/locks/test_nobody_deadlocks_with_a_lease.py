"""Two connections, every order: the lease waits for nothing, and whoever waits gets its locks in the house's order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.transitions import Transitions


@pytest.fixture
async def engines(database: str) -> Any:
    """Three engines on connections of their own."""
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(3)]
    yield [Transitions(conn) for conn in conns]
    for conn in conns:
        await conn.close()


async def test_a_lease_under_way_is_passed_over_not_waited_for(engines: list[Transitions]) -> None:
    first, second, _ = engines
    await first.define("one", work=[])
    run_id = await first.start("one")
    sessions = [await first.open_session(), await second.open_session()]
    async with first.conn.transaction(), asyncio.timeout(10):
        (leased,) = await first.lease(sessions[0])
        assert await second.lease(sessions[1]) == []
    assert leased.run_id == run_id


async def test_a_cancel_waits_for_the_lease_and_then_takes_the_task(engines: list[Transitions]) -> None:
    first, second, third = engines
    await first.define("one", work=[])
    run_id = await first.start("one")
    session = await first.open_session()
    async with first.conn.transaction():
        (leased,) = await first.lease(session)
        cancel = asyncio.create_task(second.rows("select * from pgflow.cancel_runs(array[%s]::uuid[])", run_id))
        while not await third.rows("select 1 from pg_locks where not granted"):
            await asyncio.sleep(0.01)
    assert (await cancel)[0].cancelled
    await third.assert_invariants()
    assert await third.complete(leased) == [3]


async def test_a_lease_gives_up_on_a_row_that_somebody_keeps_by_hand(engines: list[Transitions]) -> None:
    first, second, third = engines
    await first.define("one", work=[])
    await first.start("one")
    session = await second.open_session()
    async with first.conn.transaction():
        await first.rows("select 1 from pgflow.step_tasks for update")
        async with asyncio.timeout(10):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await second.lease(session)
    assert len(await second.lease(session)) == 1
    await third.assert_invariants()


async def test_a_lease_passes_over_what_is_being_cancelled(engines: list[Transitions]) -> None:
    first, second, third = engines
    await first.define("one", work=[])
    run_id = await first.start("one")
    session = await second.open_session()
    async with first.conn.transaction():
        await first.rows("select * from pgflow.cancel_runs(array[%s]::uuid[])", run_id)
        assert await second.lease(session) == []
    assert await second.lease(session) == []
    await third.assert_invariants()


async def test_a_cancelled_run_does_not_complete_under_the_waiting_result(engines: list[Transitions]) -> None:
    first, second, third = engines
    await first.define("one", work=[])
    run_id = await first.start("one")
    (leased,) = await first.lease(await first.open_session())
    async with first.conn.transaction():
        await first.rows("select * from pgflow.cancel_runs(array[%s]::uuid[])", run_id)
        record = asyncio.create_task(second.complete(leased))
        while not await third.rows("select 1 from pg_locks where not granted"):
            await asyncio.sleep(0.01)
    assert await record == [3]
    assert (await third.run(run_id)).status == "cancelled"


async def test_any_mix_on_three_connections_ends_without_a_deadlock(engines: list[Transitions]) -> None:
    await engines[0].define("mix", maps=["m"], max_attempts=2, a=[], m=["a"], b=["a"], end=["m", "b"])
    runs = [await engines[0].start("mix") for _ in range(30)]

    async def play(engine: Transitions, seed: int) -> None:
        dice = random.Random(seed)
        session = await engine.open_session()
        actions: list[Callable[[], Any]] = [
            lambda: engine.rows("select * from pgflow.cancel_runs(array[%s]::uuid[])", dice.choice(runs)),
            lambda: engine.rows("select pgflow.promote_tasks()"),
            lambda: engine.rows("select pgflow.expand_maps()"),
            lambda: engine.rows("select pgflow.sweep_sessions()"),
        ]
        for _ in range(120):
            leased = await engine.lease(session, dice.randint(1, 20))
            dice.shuffle(leased)
            if leased:
                await engine.record(*((lease, dice.choice([1, 1, 1, 1, 2, 3]), "[1, 2]") for lease in leased))
            if dice.random() < 0.1:
                await dice.choice(actions)()

    await asyncio.gather(*(play(engine, seed) for seed, engine in enumerate(engines)))
    await engines[0].assert_invariants()
