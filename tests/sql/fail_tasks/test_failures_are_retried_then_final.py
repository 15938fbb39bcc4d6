"""Failures: delays, attempts, what is kept of them, and what ends the run."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    yield engine
    await engine.assert_invariants()


async def _fail(engine: Transitions, lease: Lease, retry_after_ms: int | None = None, text: str = "broken") -> None:
    await engine.record((lease, 2, text), retry_after_ms=retry_after_ms)


async def _delay_s(engine: Transitions) -> float | None:
    (task,) = await engine.rows(
        "select extract(epoch from available_at - queued_at)::float8 as delay from pgflow.step_tasks"
    )
    return task.delay  # type: ignore[no-any-return]


async def _leased(engine: Transitions, **options: Any) -> Lease:
    await engine.define("one", work=[], **options)
    await engine.start("one")
    (lease,) = await engine.lease(await engine.open_session())
    return lease


async def _again(engine: Transitions) -> Lease:
    await engine.promote()
    (lease,) = await engine.lease(await engine.open_session())
    return lease


async def test_the_delay_doubles_with_jitter_up_to_its_maximum(engine: Transitions) -> None:
    lease = await _leased(engine, base_delay_s=10, max_attempts=9, max_delay_s=60)
    for most in (10, 20, 40, 60, 60):
        await _fail(engine, lease)
        delay = await _delay_s(engine)
        assert delay is not None
        assert most / 2 <= delay <= most
        await engine.assert_invariants()
        lease = await _again(engine)


async def test_the_workers_word_on_the_delay_counts(engine: Transitions) -> None:
    lease = await _leased(engine, base_delay_s=10)
    await _fail(engine, lease, retry_after_ms=1500)
    assert await _delay_s(engine) == pytest.approx(1.5)


async def test_a_delay_of_nothing_sends_at_once(engine: Transitions) -> None:
    lease = await _leased(engine, base_delay_s=10)
    await _fail(engine, lease, retry_after_ms=0)
    assert await _delay_s(engine) is None
    assert len(await engine.messages()) == 1


async def test_a_waiting_retry_has_no_message(engine: Transitions) -> None:
    lease = await _leased(engine, base_delay_s=10)
    await _fail(engine, lease)
    assert await engine.messages() == []
    assert await engine.lease(await engine.open_session()) == []


async def test_the_last_attempt_ends_the_run_and_says_why(engine: Transitions) -> None:
    lease = await _leased(engine, max_attempts=3)
    for attempt in (1, 2, 3):
        assert lease.attempt == attempt
        await _fail(engine, lease, text=f"broken {attempt}")
        if attempt < 3:
            lease = await _again(engine)
    run = await engine.run(lease.run_id)
    assert (run.status, run.error_attempt, run.error_message) == ("failed", 3, "broken 3")
    errors = await engine.rows("select attempt, message, lease_seq from pgflow.task_errors order by attempt")
    assert [tuple(error) for error in errors] == [(n, f"broken {n}", n) for n in (1, 2, 3)]


async def test_a_failure_that_is_final_ends_the_run_at_once(engine: Transitions) -> None:
    lease = await _leased(engine, max_attempts=3)
    await _fail(engine, lease, text="final")
    run = await engine.run(lease.run_id)
    assert (run.status, run.error_attempt, run.error_step_index, run.error_task_index) == ("failed", 1, 0, 0)


async def test_a_failure_ends_what_else_the_run_has_open(engine: Transitions) -> None:
    await engine.define("wide", maps=["many"], bad=[], held=[], waiting=[], many=["held"], late=["many"])
    run_id = await engine.start("wide")
    bad, held = await engine.lease(await engine.open_session(), 2)
    await _fail(engine, bad, text="final")
    assert set((await engine.states(run_id)).values()) == {"failed", "cancelled"}
    assert await engine.messages() == []
    assert await engine.complete(held) == [3]


async def test_of_two_steps_that_fail_together_the_first_is_named_and_both_are_failed(engine: Transitions) -> None:
    await engine.define("two", left=[], right=[], end=["left", "right"])
    run_id = await engine.start("two")
    leases = await engine.lease(await engine.open_session())
    await engine.record(*((lease, 2, "final") for lease in leases))
    run = await engine.run(run_id)
    assert (run.error_step_index, run.error_task_index) == (0, 0)
    assert await engine.states(run_id) == {"left": "failed", "right": "failed", "end": "cancelled"}
    rows = await engine.rows("select failed_tasks from pgflow.step_states order by step_index")
    assert [row.failed_tasks for row in rows] == [1, 1, 0]


async def test_a_retry_and_an_end_in_one_batch_leave_no_message(engine: Transitions) -> None:
    await engine.define("two", left=[], right=[])
    run_id = await engine.start("two")
    left, right = await engine.lease(await engine.open_session())
    assert await engine.record((left, 2, "broken"), (right, 2, "final")) == [1, 1]
    assert (await engine.run(run_id)).status == "failed"
    assert await engine.messages() == []


async def test_a_failure_that_says_nothing_of_retries_is_retried(engine: Transitions) -> None:
    lease = await _leased(engine)
    await engine.rows(
        "select pgflow.record_results(array[%s]::uuid[], array[0]::smallint[], array[0], array[1], array[%s]::uuid[],"
        " array[2]::smallint[], null, array['X'], array['broken'])", lease.run_id, lease.session_id,
    )  # fmt: skip
    (task,) = await engine.rows("select status, failures from pgflow.step_tasks")
    assert tuple(task) == ("queued", 1)
