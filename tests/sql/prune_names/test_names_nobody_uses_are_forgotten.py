"""pgflow.prune_names: which routes of scopes go, which stay, and what a start at the same moment gets."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.sql import call_one, someone_waits, values
from tests.support.transitions import Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Transitions:
    engine = Transitions(conn)
    await engine.define("one", a=[], b=["a"])
    return engine


async def _finish_all(engine: Transitions) -> None:
    session = await engine.open_session()
    while leased := await engine.lease(session):
        await engine.complete(*leased)


async def _age(engine: Transitions, minutes: int = 11) -> None:
    await engine.rows("update pgflow.routes set used_at = used_at - make_interval(mins => %s)", minutes)


async def _scopes(engine: Transitions) -> set[str]:
    return {*await values(engine.conn, "select scope from pgflow.routes")}


async def test_routes_of_scopes_go_when_no_open_run_has_used_them_for_ten_minutes(engine: Transitions) -> None:
    await engine.start("one")
    await engine.start("one", scope="old")
    await engine.start("one", scope="fresh")
    await _finish_all(engine)
    await _age(engine)
    await engine.start("one", scope="fresh")
    await _finish_all(engine)

    while await call_one(engine.conn, "prune_names"):
        pass

    assert await _scopes(engine) == {"", "fresh"}


async def test_routes_of_open_runs_stay_however_old_they_are(engine: Transitions) -> None:
    run_id = await engine.start("one", scope="slow")
    await _age(engine, 100_000)
    assert await call_one(engine.conn, "prune_names") == 2
    assert await call_one(engine.conn, "prune_names") == 0
    await _finish_all(engine)
    assert (await engine.run(run_id)).status == "completed"


async def test_many_scopes_in_use_do_not_hide_one_that_is_not(engine: Transitions) -> None:
    await engine.start("one", scope="gone")
    await _finish_all(engine)
    for n in range(30):
        await engine.start("one", scope=f"busy{n:02}")
    await _age(engine)
    await engine.rows("update pgflow.routes set used_at = used_at + interval '5 s' where scope = 'gone'")

    for _ in range(13):
        await call_one(engine.conn, "prune_names", 5)

    assert await _scopes(engine) == {f"busy{n:02}" for n in range(30)}


async def test_a_start_that_is_under_way_keeps_its_route(engine: Transitions, database: str) -> None:
    await engine.start("one", scope="again")
    await _finish_all(engine)
    await _age(engine)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other, other.transaction():
        run_id = await Transitions(other).start("one", scope="again")
        assert await call_one(engine.conn, "prune_names") == 0
    await _finish_all(engine)
    assert (await engine.run(run_id)).status == "completed"


async def test_a_start_that_meets_the_pruner_makes_its_route_anew(engine: Transitions, database: str) -> None:
    await engine.start("one", scope="again")
    await _finish_all(engine)
    await _age(engine)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        async with engine.conn.transaction():
            assert await call_one(engine.conn, "prune_names") == 2
            starting = asyncio.create_task(Transitions(other).start("one", scope="again"))
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as third:
                await someone_waits(third)
        run_id = await starting
    await _finish_all(engine)
    assert (await engine.run(run_id)).status == "completed"


async def test_workers_go_thirty_days_after_their_last_session(engine: Transitions) -> None:
    session = await engine.open_session()
    await engine.rows("update pgflow.workers set seen_at = pgflow.now() - interval '31 days'")
    assert await call_one(engine.conn, "prune_names") == 0
    await engine.rows("delete from pgflow.sessions where session_id = %s", session)
    assert await call_one(engine.conn, "prune_names") == 1
    assert await values(engine.conn, "select count(*) from pgflow.workers") == [0]
