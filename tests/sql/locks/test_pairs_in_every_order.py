"""Each transition under way while each other begins, then committed or lost: nobody deadlocks, one result counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.cluster import Cluster
from tests.support.transitions import Lease, Transitions


class _Lost(Exception):
    """The first connection goes away before its commit."""


@dataclass
class Scene:
    """A flow with a run that has a leased and a waiting task, and a run that has ended."""

    run_id: UUID
    lease: Lease
    #: Who leases next, by engine.
    sessions: dict[Transitions, UUID]


async def _sweep(engine: Transitions, scene: Scene) -> None:
    await engine.rows(
        "update pgflow.sessions set lease_until = pgflow.now() - interval '1 s' where session_id = %s",
        scene.lease.session_id,
    )
    await engine.rows("select pgflow.sweep_sessions()")


ACTIONS: dict[str, Callable[[Transitions, Scene], Awaitable[Any]]] = {
    "lease": lambda engine, scene: engine.lease(scene.sessions[engine], 10),
    "complete": lambda engine, scene: engine.complete(scene.lease),
    "fail": lambda engine, scene: engine.record((scene.lease, 2, "final")),
    "release": lambda engine, scene: engine.record((scene.lease, 3, None)),
    "undelivered": lambda engine, scene: engine.record((scene.lease, 4, None)),
    "resume": lambda engine, scene: engine.rows(
        "select * from pgflow.resume_session(%s, 'secret', %s, 60000, 0, '{}', '{}', '{}', '{}')",
        scene.lease.session_id,
        scene.lease.session_id,
    ),
    "compare": lambda engine, scene: engine.rows(
        "select * from pgflow.leases_of_sessions(%s::uuid[])", [scene.lease.session_id, scene.sessions[engine]]
    ),
    "sweep": _sweep,
    "expire": lambda engine, scene: engine.close(scene.lease.session_id, lost=True),
    "cancel": lambda engine, scene: engine.cancel(scene.run_id),
    "retry": lambda engine, scene: engine.retry(scene.run_id),
    "delete": lambda engine, scene: engine.rows("select pgflow.delete_flow('flow', true)"),
    "prune": lambda engine, scene: engine.rows("select pgflow.prune_ended_runs(0), pgflow.prune_deleted_runs()"),
}


@pytest.fixture(scope="module")
async def engines(pg_cluster: Cluster) -> AsyncIterator[list[Transitions]]:
    """Three engines on connections of their own; one database for all, of which each test leaves nothing."""
    dsn = pg_cluster.create_migrated()
    conns = [await psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(3)]
    yield [Transitions(conn) for conn in conns]
    for conn in conns:
        await conn.close()
    pg_cluster.drop(dsn)


@pytest.fixture
async def scene(engines: list[Transitions]) -> AsyncIterator[Scene]:
    engine = engines[0]
    await engine.define("flow", leased=[], waiting=[], behind=["leased", "waiting"])
    ended, run_id = await engine.start("flow"), await engine.start("flow")
    await engine.cancel(ended)
    (lease,) = await engine.lease(await engine.open_session(), 1)
    yield Scene(run_id, lease, {one: await one.open_session() for one in engines})
    with suppress(psycopg.ProgrammingError):  # the test has done it
        await engine.rows("select pgflow.delete_flow('flow', true)")
    await engine.rows("select pgflow.prune_deleted_runs()")
    assert await engine.rows("select run_id from pgflow.runs") == []


@pytest.mark.parametrize("lost", [False, True], ids=["committed", "lost"])
@pytest.mark.parametrize("second", ACTIONS)
@pytest.mark.parametrize("first", ACTIONS)
async def test_whoever_comes_second_waits_or_passes_by(
    engines: list[Transitions], scene: Scene, first: str, second: str, lost: bool
) -> None:
    one, other, third = engines
    answers: dict[str, Any] = {}
    async with asyncio.timeout(10):
        with suppress(_Lost):
            async with one.conn.transaction():
                answers[f"1 {first}"] = await ACTIONS[first](one, scene)
                meeting = asyncio.ensure_future(ACTIONS[second](other, scene))
                while not meeting.done() and not await third.rows("select 1 from pg_locks where not granted"):
                    await asyncio.sleep(0.001)
                if lost:
                    del answers[f"1 {first}"]
                    raise _Lost
        try:
            answers[f"2 {second}"] = await meeting
        except psycopg.ProgrammingError as error:
            # The flow was deleted meanwhile: it is unknown, or a lease was on its way to its queue.
            if error.sqlstate not in ("PF404", "42P01", "42883"):
                raise
    recorded = [
        name
        for name, answer in answers.items()
        if name[2:] in ("complete", "fail", "release", "undelivered") and answer == [1]
    ]
    assert len(recorded) <= 1, answers
    await third.assert_invariants()
