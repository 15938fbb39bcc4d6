"""Outputs that the engine refuses after the fact: the run fails, and the step that made the output is to blame."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    yield engine
    await engine.assert_invariants()


async def _all(engine: Transitions) -> list[Lease]:
    return sorted(await engine.lease(await engine.open_session()), key=lambda lease: lease.task_index)


async def _error(engine: Transitions, lease: Lease) -> tuple[str, str, int, int, int]:
    run = await engine.run(lease.run_id)
    return run.status, run.error_code, run.error_step_index, run.error_task_index, run.error_attempt


@pytest.mark.parametrize("output", ['{"a": 1}', "1", '"[]"', "null", "true"])
async def test_no_array_for_a_map(engine: Transitions, output: str) -> None:
    await engine.define("f", maps=["each"], make=[], each=["make"], other=["make"], end=["each"])
    run_id = await engine.start("f")
    (make,) = await _all(engine)
    assert await engine.complete(make, output=output) == [1]
    assert await _error(engine, make) == ("failed", "TYPE_VIOLATION", 0, 0, 1)
    assert await engine.states(run_id) == {
        "make": "failed", "each": "cancelled", "other": "cancelled", "end": "cancelled",
    }  # fmt: skip
    (task,) = await engine.rows("select * from pgflow.step_tasks where step_index = 0")
    assert (task.status, task.failures, task.output) == ("failed", 1, None)
    (error,) = await engine.rows("select * from pgflow.task_errors")
    assert (error.code, error.attempt, error.lease_seq) == ("TYPE_VIOLATION", 1, 1)
    assert (await engine.run(run_id)).remaining_steps == 4


async def test_another_number_of_items_than_promised(engine: Transitions) -> None:
    await engine.define("f", make=[])
    await engine.rows("select pgflow.add_step('f', 'each', array['make'], 'map', 3)")
    await engine.start("f")
    (make,) = await _all(engine)
    await engine.complete(make, output="[1, 2]")
    assert await _error(engine, make) == ("failed", "INITIAL_TASKS_MISMATCH", 0, 0, 1)
    message = (await engine.run(make.run_id)).error_message
    assert "3" in message
    assert "2" in message


async def test_more_items_than_allowed(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], make=[], each=["make"])
    await engine.start("f")
    (make,) = await _all(engine)
    await engine.record((make, 1, "[1, 2, 3]"), p_max_items=2)
    assert await _error(engine, make) == ("failed", "TOO_MANY_ITEMS", 0, 0, 1)


async def test_a_map_that_makes_another_number_is_blamed_on_its_last_task(engine: Transitions) -> None:
    await engine.define("f", maps=["first"], first=[])
    await engine.rows("select pgflow.add_step('f', 'second', array['first'], 'map', 3)")
    await engine.start("f", [1, 2])
    tasks = await _all(engine)
    await engine.complete(*tasks)
    assert await _error(engine, tasks[0]) == ("failed", "INITIAL_TASKS_MISMATCH", 0, 1, 1)
    (state,) = await engine.rows("select * from pgflow.step_states where step_index = 0")
    assert (state.status, state.failed_tasks, state.remaining_tasks) == ("failed", 1, 1)


async def test_an_empty_map_has_no_task_to_blame_so_the_next_step_is(engine: Transitions) -> None:
    await engine.define("f", maps=["first"], first=[])
    await engine.rows("select pgflow.add_step('f', 'second', array['first'], 'map', 3)")
    (started,) = await engine.start_runs([("f", [], None)])
    run = await engine.run(started.run_id)
    assert (started.verdict, started.status) == ("created", "failed")
    assert (run.error_code, run.error_step_index, run.error_attempt) == ("INITIAL_TASKS_MISMATCH", 1, 1)


async def test_an_empty_map_that_makes_an_input_too_large(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], make=[], each=["make"], end=["each"])
    await engine.start("f", {})
    (make,) = await _all(engine)
    await engine.record((make, 1, "[]"), p_max_input_bytes=3)
    assert await _error(engine, make) == ("failed", "OUTPUT_TOO_LARGE", 1, 0, 1)


async def test_the_rejected_result_is_the_one_whose_task_failed(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], each=[])
    await engine.start("f", [1, 2, 3])
    tasks = (await _all(engine))[::-1]
    fat = json.dumps("x" * 600)
    verdicts = await engine.record(*((task, 1, fat) for task in tasks), p_max_output_bytes=1000)
    assert verdicts == [1, 1, 4]
    failed = await engine.rows("select task_index from pgflow.step_tasks where status = 'failed'")
    assert [row.task_index for row in failed] == [tasks[2].task_index]
    assert (await engine.run(tasks[0].run_id)).error_task_index == tasks[2].task_index
    assert await engine.record((tasks[2], 1, fat), p_max_output_bytes=1000) == [2]


async def test_two_maps_refused_at_once_fail_the_run_once(engine: Transitions) -> None:
    await engine.define("f", maps=["b", "c"], a=[], b=["a"], c=["a"])
    await engine.start("f")
    (task,) = await _all(engine)
    await engine.complete(task, output="{}")
    assert await _error(engine, task) == ("failed", "TYPE_VIOLATION", 0, 0, 1)
    assert len(await engine.rows("select * from pgflow.task_errors")) == 1


async def test_other_runs_of_the_batch_go_on(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], make=[], each=["make"])
    runs = await engine.start_many("f", 5)
    tasks = {task.run_id: task for task in await _all(engine)}
    outputs = ["{}", "[1]", "[]", "{}", "[1, 2]"]
    batch = [(tasks[run_id], 1, output) for run_id, output in zip(runs, outputs, strict=True)]
    assert await engine.record(*batch) == [1] * 5
    statuses = [(await engine.run(run_id)).status for run_id in runs]
    assert statuses == ["failed", "started", "completed", "failed", "started"]
