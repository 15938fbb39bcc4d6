"""Four connections: workers that lease, record, vanish, move and return, beside every loop of the engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


class _Player:
    """One connection that plays a coordinator with one worker after the other."""

    def __init__(self, engine: Transitions, dice: random.Random, runs: list[UUID], sessions: list[UUID]) -> None:
        self._engine = engine
        self._dice = dice
        self._runs = runs
        #: Of all players: any may resume, renew or close any.
        self._sessions = sessions
        self._held: list[Lease] = []

    async def play(self, rounds: int) -> None:
        engine, dice = self._engine, self._dice
        session = await self._open()
        actions: list[tuple[int, Callable[[], Any]]] = [
            (3, lambda: engine.rows("select pgflow.sweep_sessions()")),
            (3, lambda: engine.rows("select pgflow.promote_tasks()")),
            (3, lambda: engine.rows("select pgflow.expand_maps(500)")),
            (3, self._renew),
            (3, self._resume),
            (2, lambda: engine.close(dice.choice(self._sessions), lost=dice.random() < 0.5, max_lost_leases=50)),
            (1, lambda: engine.rows("select pgflow.prune_names()")),
            (1, lambda: engine.cancel(*dice.sample(self._runs, 2))),
        ]
        for _ in range(rounds):
            leased = await engine.lease(session, dice.randint(1, 30))
            self._held += leased
            dice.shuffle(self._held)
            batch, self._held = self._held[:25], self._held[25:]
            if batch:
                await engine.record(*((lease, dice.choice([1, 1, 1, 1, 1, 2, 3, 4]), "[1, 2]") for lease in batch))
            if dice.random() < 0.5:
                (action,) = dice.choices([a for _, a in actions], [weight for weight, _ in actions])
                await action()
            if dice.random() < 0.2:
                session = await self._open()

    async def _open(self) -> UUID:
        session = await self._engine.open_session(lease_ms=self._dice.choice([-1, 60_000]))
        self._sessions.append(session)
        return session

    async def _renew(self) -> None:
        some = self._dice.sample(self._sessions, min(5, len(self._sessions)))
        await self._engine.rows(
            "select pgflow.renew_sessions(%s::uuid[], array_fill(1, array[%s]), %s)",
            some, len(some), self._dice.choice([-1, 60_000]),
        )  # fmt: skip

    async def _resume(self) -> None:
        session = self._dice.choice(self._sessions)
        held = [lease for lease in self._held if lease.session_id == session and self._dice.random() < 0.5]
        await self._engine.rows(
            "select * from pgflow.resume_session(%s, 'secret', %s, 60000, 0, %s::uuid[], %s::smallint[], %s::int[],"
            " %s::int[])", session, uuid4(), [lease.run_id for lease in held], [lease.step_index for lease in held],
            [lease.task_index for lease in held], [lease.lease_seq for lease in held],
        )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 8))])
async def test_sessions_come_and_go_without_a_deadlock_and_nothing_is_lost(database: str, seed: int) -> None:
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(4)]
    engines = [Transitions(conn) for conn in conns]
    dice = random.Random(seed)
    await engines[0].define("mix", maps=["m"], max_attempts=50, a=[], m=["a"], b=["a"], end=["m", "b"])
    await engines[0].define("large", maps=["m"], max_attempts=50, m=[])
    runs = [await engines[0].start("mix", scope=dice.choice(["", "blue"])) for _ in range(15)]
    runs.append(await engines[0].start("large", list(range(2500))))
    sessions: list[UUID] = []

    await asyncio.gather(
        *(_Player(engine, random.Random(seed * 10 + n), runs, sessions).play(50) for n, engine in enumerate(engines))
    )

    engine = engines[0]
    await engine.assert_invariants()
    # What vanished workers hold comes back, and everything that was not cancelled is finished.
    await engine.rows("update pgflow.sessions set lease_until = pgflow.now() - interval '1 s' where closed_at is null")
    while await engine.rows("select pgflow.sweep_sessions(p_max_lost_leases => 50)"):
        pass
    await engine.rows("select pgflow.sweep_sessions()")
    assert not await engine.rows("select 1 from pgflow.step_tasks where status = 'started'")
    await engine.expand()
    session = await engine.open_session()
    while await engine.promote() + len(leased := await engine.lease(session)):
        if leased:
            await engine.complete(*leased, output="[1, 2]")
    await engine.assert_invariants()
    assert not await engine.rows("select 1 from pgflow.runs where status in ('started', 'failed')")
    for conn in conns:
        await conn.close()
