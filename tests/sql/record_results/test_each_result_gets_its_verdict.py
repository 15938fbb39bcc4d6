"""Fences: what is recorded, doubled, late, guessed or foreign, in one batch or in two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions

RECORDED, DUPLICATE, STALE = 1, 2, 3


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("pair", first=[], second=["first"])
    yield engine
    await engine.assert_invariants()


async def _leased(engine: Transitions) -> Lease:
    await engine.start("pair")
    (lease,) = await engine.lease(await engine.open_session(), 1)
    return lease


async def test_a_result_twice_in_one_batch_counts_once(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert sorted(await engine.complete(lease, lease)) == [RECORDED, DUPLICATE]
    assert await engine.states(lease.run_id) == {"first": "completed", "second": "started"}


async def test_a_result_sent_again_is_a_duplicate(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert await engine.complete(lease) == [RECORDED]
    assert await engine.complete(lease) == [DUPLICATE]


async def test_a_result_sent_again_after_the_end_of_its_run_is_a_duplicate(engine: Transitions) -> None:
    lease = await _leased(engine)
    await engine.complete(lease)
    await engine.complete(*await engine.lease(await engine.open_session()))
    assert (await engine.run(lease.run_id)).status == "completed"
    assert await engine.complete(lease) == [DUPLICATE]


async def test_a_failure_sent_again_is_a_duplicate_while_its_retry_runs(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert await engine.record((lease, 2, "broken")) == [RECORDED]
    (retry,) = await engine.lease(await engine.open_session())
    assert await engine.record((lease, 2, "broken")) == [DUPLICATE]
    assert retry.attempt == 2
    assert await engine.complete(retry) == [RECORDED]


async def test_a_completion_stands_before_a_failure_of_the_same_lease(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert await engine.record((lease, 2, "final"), (lease, 1, "1")) == [DUPLICATE, RECORDED]
    assert (await engine.run(lease.run_id)).status == "started"


async def test_a_failure_twice_in_one_batch_burns_one_attempt(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert sorted(await engine.record((lease, 2, "broken"), (lease, 2, "broken"))) == [RECORDED, DUPLICATE]
    (task,) = await engine.rows("select failures from pgflow.step_tasks")
    assert task.failures == 1


async def test_a_released_lease_is_over(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert await engine.record((lease, 4, None)) == [RECORDED]
    (again,) = await engine.lease(await engine.open_session())
    assert (again.attempt, again.lease_seq) == (1, 2)
    assert await engine.complete(lease) == [STALE]
    assert await engine.complete(again) == [RECORDED]


@pytest.mark.parametrize(
    "changed",
    [
        {"lease_seq": 2},
        {"lease_seq": 0},
        {"session_id": uuid4()},
        {"run_id": uuid4()},
        {"step_index": 1},
        {"task_index": 7},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.parametrize("outcome", [1, 2, 3, 4])
async def test_a_guessed_token_changes_nothing(engine: Transitions, changed: dict[str, Any], outcome: int) -> None:
    lease = await _leased(engine)
    assert await engine.record((replace(lease, **changed), outcome, "1")) == [STALE]
    assert await engine.complete(lease) == [RECORDED]


async def test_another_sessions_token_changes_nothing(engine: Transitions) -> None:
    lease = await _leased(engine)
    assert await engine.complete(replace(lease, session_id=await engine.open_session())) == [STALE]


async def test_a_result_for_a_cancelled_run_is_stale(engine: Transitions) -> None:
    lease = await _leased(engine)
    await engine.cancel(lease.run_id)
    assert await engine.complete(lease) == [STALE]
    assert await engine.record((lease, 2, "broken")) == [STALE]
    assert not await engine.rows("select * from pgflow.task_errors")


async def test_good_and_bad_results_travel_together(engine: Transitions) -> None:
    leases = [await _leased(engine) for _ in range(4)]
    await engine.cancel(leases[2].run_id)
    batch = (
        (leases[0], 1, "1"),
        (replace(leases[1], lease_seq=9), 1, "1"),
        (leases[2], 1, "1"),
        (leases[3], 2, "final"),
        (leases[1], 3, None),
        (leases[0], 1, "1"),
    )
    assert await engine.record(*batch) == [RECORDED, STALE, STALE, RECORDED, RECORDED, DUPLICATE]


async def test_a_batch_without_results_answers_nothing(engine: Transitions) -> None:
    assert await engine.record() == []
