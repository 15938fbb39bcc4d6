"""Random DAGs, random interleavings of everything that can happen to a task, invariants after every step."""

from __future__ import annotations

import json
import random
from typing import Any

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


async def _define_random(engine: Transitions, dice: random.Random, slug: str) -> dict[str, list[str]]:
    steps: dict[str, list[str]] = {}
    maps = []
    for n in range(dice.randint(1, 7)):
        name = f"s{n}"
        before = list(steps)
        if before and dice.random() < 0.4:
            steps[name] = [dice.choice(before)]
            maps.append(name)
        else:
            steps[name] = dice.sample(before, dice.randint(0, min(3, len(before))))
    await engine.define(slug, maps=maps, max_attempts=3, **steps)
    return steps


def _output(dice: random.Random) -> str:
    # Nearly always an array, since any step may have a map behind it.
    return json.dumps([dice.randint(0, 9)] * dice.choice([0, 1, 2, 5])) if dice.random() < 0.95 else '{"a": 1e5}'


async def _act(
    engine: Transitions, dice: random.Random, sessions: list[Any], held: list[Lease], runs: list[Any]
) -> None:
    action = dice.choices(
        ["lease", "record", "cancel", "retry", "close", "promote", "double", "sweep"], [40, 40, 1, 6, 2, 8, 3, 2]
    )[0]
    match action:
        case "lease":
            held.extend(await engine.lease(dice.choice(sessions), dice.randint(1, 12)))
        case "record" if held:
            batch = [held.pop(dice.randrange(len(held))) for _ in range(dice.randint(1, min(8, len(held))))]
            outcomes = [dice.choices([1, 2, 3, 4], [85, 8, 3, 4])[0] for _ in batch]
            texts = [_output(dice) if o == 1 else dice.choice(["broken", "final"]) for o in outcomes]
            verdicts = await engine.record(*zip(batch, outcomes, texts, strict=True))
            assert set(verdicts) <= {1, 2, 3}
            if dice.random() < 0.2:
                again = await engine.record(*((lease, 1, '"again"') for lease in batch))
                assert 1 not in again
        case "double" if held:
            lease = dice.choice(held)
            assert sorted(await engine.complete(lease, lease, output="[]"))[1:] != [1]
            held.remove(lease)
        case "cancel" if runs:
            await engine.rows("select * from pgflow.cancel_runs(%s::uuid[])", [dice.choice(runs)])
        case "retry" if runs:
            await engine.retry(*dice.sample(runs, dice.randint(1, 3)))
        case "close":
            session = dice.choice(sessions)
            await engine.rows("select pgflow.close_sessions(%s::uuid[], array[1], %s)", [session], dice.random() < 0.5)
            sessions.remove(session)
            sessions.append(await engine.open_session())
        case "promote":
            await engine.rows("update pgflow.step_tasks set available_at = pgflow.now() where available_at is not null")
            await engine.rows("select pgflow.promote_tasks()")
        case "sweep":
            await engine.rows("select pgflow.sweep_sessions()")


_VISIBLE = """
    select r.run_id, null as step_index, r.revision, array[r.status, r.remaining_steps::text, r.error_code] as what
    from pgflow.runs as r
    union all
    select s.run_id, s.step_index, s.revision, array[s.status, s.initial_tasks::text, s.remaining_tasks::text,
        s.failed_tasks::text, s.remaining_deps::text, s.started_at::text, s.completed_at::text]
    from pgflow.step_states as s"""


class _History:
    """What only a look back tells: a change that watchers may see raises the run's revision by one, and no lease is
    ever counted twice."""

    def __init__(self, engine: Transitions) -> None:
        self._engine = engine
        self._seen: dict[Any, Any] = {}
        self._leased: dict[Any, int] = {}

    async def assert_leases_count_on(self) -> None:
        leased = {
            (row.run_id, row.step_index, row.task_index): row.lease_seq
            for row in await self._engine.rows("select * from pgflow.step_tasks where lease_seq > 0")
        }
        for task, lease_seq in self._leased.items():
            assert leased.get(task, 0) >= lease_seq, task
        self._leased = leased

    async def assert_raised_once(self) -> None:
        seen = {(row.run_id, row.step_index): row for row in await self._engine.rows(_VISIBLE)}
        if self._seen:
            changed = {key for key, row in seen.items() if row.what != self._seen[key].what}
            touched = {run_id for run_id, _ in changed}
            for key, row in seen.items():
                run_id, step_index = key
                before = self._seen[run_id, None].revision
                if step_index is None:
                    assert row.revision - before in ((1,) if run_id in touched else (0, 1)), (self._seen[key], row)
                elif key in changed:
                    assert row.revision == before + 1, (self._seen[key], row)
        self._seen = seen


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 25))])
async def test_whatever_happens_counters_messages_and_statuses_agree(
    conn: psycopg.AsyncConnection[Any], seed: int
) -> None:
    dice = random.Random(seed)
    engine = Transitions(conn)
    sessions = [await engine.open_session() for _ in range(3)]
    runs = []
    for n in range(3):
        await _define_random(engine, dice, f"flow{n}")
        runs += [await engine.start(f"flow{n}", {"n": n}) for _ in range(3)]
    held: list[Lease] = []
    history = _History(engine)
    for _ in range(150):
        await history.assert_raised_once()
        await history.assert_leases_count_on()
        await _act(engine, dice, sessions, held, runs)
        await engine.assert_invariants()

    # Whatever has happened, runs that are retried often enough complete: every round makes one refused output anew.
    for _ in range(30):
        await _drain(engine, sessions)
        await history.assert_leases_count_on()
        await engine.assert_invariants()
        assert not await engine.rows("select run_id, status from pgflow.runs where status = 'started'")
        assert await engine.messages() == []
        if "retried" not in await engine.retry(*runs):
            break
        await engine.assert_invariants()
    assert {(await engine.run(run_id)).status for run_id in runs} == {"completed"}


async def _drain(engine: Transitions, sessions: list[Any]) -> None:
    """Completes everything that is open."""
    for _ in range(200):
        # What other sessions still hold goes back, so that the rest can be finished here.
        await engine.rows("select pgflow.return_leases(%s::uuid[], false)", sessions)
        await engine.promote()
        held = await engine.lease(sessions[0])
        if not held:
            break
        await engine.complete(*held, output="[1]")
