"""Hypothesis plays transitions on two connections, and rolls some of them back; after each the database is as the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.sql.interleavings.model import MAX_ATTEMPTS, MAX_LOST_LEASES, Run, StepDef
from tests.support.invariants import assert_invariants
from tests.support.transitions import Lease, Transitions

RECORDED, DUPLICATE, STALE = 1, 2, 3


class _RolledBack(Exception):
    """A connection is lost in the middle of a transaction."""


@st.composite
def dags(draw: st.DrawFn) -> tuple[StepDef, ...]:
    """Up to five steps, singles and maps."""
    steps: list[StepDef] = []
    for number in range(draw(st.integers(1, 5))):
        is_map = draw(st.booleans())
        needed = (
            draw(st.lists(st.sampled_from(range(number)), max_size=1 if is_map else 3, unique=True)) if number else []
        )
        steps.append(StepDef(f"s{number}", tuple(sorted(needed)), is_map))
    return tuple(steps)


class Machine(RuleBasedStateMachine):
    """The rules."""

    dsn: str
    runs = Bundle("runs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.engines = [Transitions(self._do(psycopg.AsyncConnection.connect(self.dsn, autocommit=True))) for _ in "ab"]
        self.model: dict[UUID, Run] = {}
        self.sessions: list[UUID] = []
        self.slug = ""

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def teardown(self) -> None:
        """The next example begins with an empty database."""
        with suppress(psycopg.Error):
            self._do(self.engines[0].rows("select pgflow.delete_flow(%s, true)", self.slug))
            self._do(self.engines[0].rows("select pgflow.prune_deleted_runs()"))
        for engine in self.engines:
            self._do(engine.conn.close())
        self.loop.close()

    # ------------------------------------------------------------------------------------------------ rules

    @initialize(steps=dags())
    def define(self, steps: tuple[StepDef, ...]) -> None:
        """A flow for all runs, and a session on each connection."""
        self.slug, self.steps = "flow", steps
        maps = [step.slug for step in steps if step.is_map]
        needed = {step.slug: [steps[d].slug for d in step.depends_on] for step in steps}
        self._do(self.engines[0].define(self.slug, maps=maps, max_attempts=MAX_ATTEMPTS, **needed))
        self.sessions = [self._do(engine.open_session()) for engine in self.engines]

    @rule(target=runs, who=st.integers(0, 1), size=st.integers(0, 3))
    def start(self, who: int, size: int) -> UUID:
        """A run with an array as its input."""
        run_id: UUID = self._do(self.engines[who].start(self.slug, list(range(size))))
        self.model[run_id] = Run(self.steps, size)
        self._compare()
        return run_id

    @rule(target=leases, who=st.integers(0, 1), step=st.integers(0, 7))
    def lease(self, who: int, step: int) -> Any:
        """All that waits of one step, or of any.

        Never a part of it: which part depends on the order of messages, and hypothesis could not play it again.
        """
        wanted = {step} if step < len(self.steps) else set(range(len(self.steps)))
        waiting = [
            (run_id, s, t)
            for run_id, run in self.model.items()
            for s in sorted(wanted)
            for t, task in enumerate(run.steps[s].tasks)
            if task.status == "queued"
        ]
        routes = self._do(
            self.engines[who].rows(
                "select route_id from pgflow.routes where handler = any(%s) order by route_id",
                [f"{self.slug}.s{s}" for s in wanted],
            )
        )
        leased = self._do(self.engines[who].lease(self.sessions[who], routes=[row.route_id for row in routes]))
        found: dict[Any, Lease] = {(lease.run_id, lease.step_index, lease.task_index): lease for lease in leased}
        assert sorted(found) == sorted(waiting)
        for (run_id, s, t), lease in found.items():
            run = self.model[run_id]
            assert lease.attempt == run.task(s, t).failures + 1
            assert run.lease(s, t) == lease.lease_seq
        self._compare()
        return multiple(*(found[place] for place in waiting))

    @rule(who=st.integers(0, 1), lease=leases, size=st.integers(0, 3))
    def complete(self, who: int, lease: Lease, size: int) -> None:
        """By whoever has or had the lease: the fence decides."""
        held = self._held(lease)
        (verdict,) = self._do(self.engines[who].complete(lease, output=json.dumps([0] * size)))
        assert (verdict == RECORDED) is held, verdict
        if held:
            self.model[lease.run_id].complete(lease.step_index, lease.task_index, size)
        self._compare()

    @rule(one=leases, other=leases, size=st.integers(0, 3))
    def complete_at_once(self, one: Lease, other: Lease, size: int) -> None:
        """On two connections; also the same lease twice."""
        leases, output = [one, other], json.dumps([0] * size)

        async def both() -> list[list[int]]:
            return await asyncio.gather(
                *(engine.complete(lease, output=output) for engine, lease in zip(self.engines, leases, strict=True))
            )

        held = [self._held(lease) for lease in leases]
        recorded = [verdict == RECORDED for (verdict,) in self._do(both())]
        if one == other:
            assert sum(recorded) == held[0]
            held = [held[0], False]
        else:
            assert recorded == held
        for lease, counts in zip(leases, held, strict=True):
            if counts:
                self.model[lease.run_id].complete(lease.step_index, lease.task_index, size)
        self._compare()

    @rule(who=st.integers(0, 1), lease=leases, final=st.booleans())
    def fail(self, who: int, lease: Lease, final: bool) -> None:
        """A failure, perhaps the last one."""
        held = self._held(lease)
        (verdict,) = self._do(self.engines[who].record((lease, 2, "final" if final else "broken")))
        assert (verdict == RECORDED) is held, verdict
        if held:
            self.model[lease.run_id].fail(lease.step_index, lease.task_index, final=final)
        self._compare()

    @rule(who=st.integers(0, 1), lease=consumes(leases))
    def release(self, who: int, lease: Lease) -> None:
        """Handed back."""
        held = self._held(lease)
        self._do(self.engines[who].record((lease, 3, None)))
        if held:
            self.model[lease.run_id].give_back(lease.step_index, lease.task_index, lost=False)
        self._compare()

    @rule(who=st.integers(0, 1), of=st.integers(0, 1), lost=st.booleans())
    def close(self, who: int, of: int, lost: bool) -> None:
        """A session ends, or is found dead by somebody else."""
        gone = self.sessions[of]
        rows = self._do(
            self.engines[who].rows(
                "select run_id, step_index, task_index from pgflow.step_tasks where session_id = %s"
                " order by run_id, step_index, task_index", gone,
            )
        )  # fmt: skip
        self._do(self.engines[who].close(gone, lost=lost, max_lost_leases=MAX_LOST_LEASES))
        self.sessions[of] = self._do(self.engines[of].open_session())
        for row in rows:
            run = self.model[row.run_id]
            if run.status == "started":  # else the loss of another task has just ended it
                run.give_back(row.step_index, row.task_index, lost=lost)
        self._compare()

    @rule(who=st.integers(0, 1), run_id=runs)
    def cancel(self, who: int, run_id: UUID) -> None:
        """A run ends for good, or had ended."""
        running = self.model[run_id].status == "started"
        assert self._do(self.engines[who].cancel(run_id)) == [running]
        self.model[run_id].cancel()
        self._compare()

    @rule(who=st.integers(0, 1), run_id=runs)
    def retry(self, who: int, run_id: UUID) -> None:
        """A run goes on."""
        assert self._do(self.engines[who].retry(run_id)) == [self.model[run_id].retry()]
        self._compare()

    @precondition(lambda self: self.model)
    @rule(
        who=st.integers(0, 1),
        run_id=runs,
        lease=leases,
        what=st.sampled_from(["start", "lease", "complete", "fail", "release", "expire", "cancel", "retry"]),
    )
    def crash(self, who: int, run_id: UUID, lease: Lease, what: str) -> None:
        """A connection that is lost before its commit leaves nothing."""
        engine = self.engines[who]
        work: dict[str, Any] = {
            "start": lambda: engine.start(self.slug, [1]),
            "lease": lambda: engine.lease(self.sessions[who]),
            "complete": lambda: engine.complete(lease, output="[]"),
            "fail": lambda: engine.record((lease, 2, "final")),
            "release": lambda: engine.record((lease, 3, None)),
            "expire": lambda: engine.close(lease.session_id, lost=True),
            "cancel": lambda: engine.cancel(run_id),
            "retry": lambda: engine.retry(run_id),
        }

        async def cut_off() -> None:
            with suppress(_RolledBack):
                async with engine.conn.transaction():
                    await work[what]()
                    raise _RolledBack

        self._do(cut_off())
        self._compare()

    # ------------------------------------------------------------------------------------------------ looks

    def _held(self, lease: Lease) -> bool:
        return lease.session_id in self.sessions and self.model[lease.run_id].holds(
            lease.step_index, lease.task_index, lease.lease_seq
        )

    def _compare(self) -> None:
        """Delays are over at once; then everything is as the model says, and the invariants hold."""
        self._do(self.engines[0].promote())
        assert self._do(self._stored()) == {
            run_id: (
                run.status,
                [
                    (step.status, [(t.status, t.failures, t.lost, t.lease_seq) for t in step.tasks])
                    for step in run.steps
                ],
            )
            for run_id, run in self.model.items()
        }
        self._do(assert_invariants(self.engines[0].conn))

    async def _stored(self) -> dict[UUID, Any]:
        rows = self.engines[0].rows
        found: dict[UUID, Any] = {
            r.run_id: (r.status, []) for r in await rows("select run_id, status from pgflow.runs")
        }
        for row in await rows("select run_id, status from pgflow.step_states order by run_id, step_index"):
            found[row.run_id][1].append((row.status, []))
        for row in await rows("select * from pgflow.step_tasks order by run_id, step_index, task_index"):
            found[row.run_id][1][row.step_index][1].append((row.status, row.failures, row.lost_leases, row.lease_seq))
        return found


@pytest.fixture
def machine(database: str) -> type[Machine]:
    """The machine, on a database of its own."""
    return type("MachineHere", (Machine,), {"dsn": database})


@pytest.mark.parametrize("examples", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_whatever_is_played_the_database_is_as_the_model(machine: type[Machine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, derandomize=examples == 8,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
