"""pgflow.retry_runs: what was finished stays, what was not starts again."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.transitions import Lease, Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    yield engine
    await engine.assert_invariants()


async def _all(engine: Transitions) -> list[Lease]:
    leases = await engine.lease(await engine.open_session())
    return sorted(leases, key=lambda lease: (lease.step_index, lease.task_index))


async def _fail(engine: Transitions, lease: Lease) -> None:
    assert await engine.record((lease, 2, "final")) == [1]


async def _finish(engine: Transitions, run_id: UUID, output: str = "1") -> int:
    """Completes what is open; returns the number of tasks it took."""
    count = 0
    while leases := await _all(engine):
        await engine.complete(*leases, output=output)
        count += len(leases)
    assert (await engine.run(run_id)).status == "completed"
    return count


async def _task(engine: Transitions, lease: Lease) -> Any:
    query = "select * from pgflow.step_tasks where run_id = %s and step_index = %s and task_index = %s"
    (task,) = await engine.rows(query, lease.run_id, lease.step_index, lease.task_index)
    return task


async def test_a_failed_task_starts_again_with_all_its_attempts(engine: Transitions) -> None:
    await engine.define("f", max_attempts=2, only=[])
    run_id = await engine.start("f")
    for _ in range(2):
        (lease,) = await _all(engine)
        await engine.record((lease, 2, "broken"))
        await engine.promote()
    before = await engine.run(run_id)
    assert (before.status, before.error_code) == ("failed", "broken")

    assert await engine.retry(run_id) == ["retried"]

    run = await engine.run(run_id)
    assert (run.status, run.completed_at, run.revision) == ("started", None, before.revision + 1)
    error = (run.error_step_index, run.error_task_index, run.error_attempt, run.error_code, run.error_message)
    assert error == (None,) * 5
    task = await _task(engine, lease)
    assert (task.status, task.failures, task.lost_leases, task.completed_at) == ("queued", 0, 0, None)
    (again,) = await _all(engine)
    assert (again.attempt, again.lease_seq) == (1, 3)
    await engine.record((again, 2, "broken"))
    await engine.promote()
    assert await _finish(engine, run_id) == 1
    errors = await engine.rows("select lease_seq, attempt from pgflow.task_errors order by lease_seq")
    assert [tuple(error) for error in errors] == [(1, 1), (2, 2), (3, 1)]


async def test_a_task_that_lost_its_workers_may_lose_as_many_again(engine: Transitions) -> None:
    await engine.define("f", only=[])
    run_id = await engine.start("f")
    for status in ("started", "failed"):
        session = await engine.open_session()
        await engine.lease(session)
        await engine.close(session, lost=True, max_lost_leases=1)
        assert (await engine.run(run_id)).status == status
    await engine.retry(run_id)
    session = await engine.open_session()
    (lease,) = await engine.lease(session)
    assert (await _task(engine, lease)).lost_leases == 0
    await engine.close(session, lost=True, max_lost_leases=1)
    assert (await engine.run(run_id)).status == "started"


async def test_finished_branches_of_a_diamond_stay(engine: Transitions) -> None:
    await engine.define("f", a=[], b=["a"], c=["a"], d=["b", "c"])
    run_id = await engine.start("f", {"n": 1})
    await engine.complete(*await _all(engine), output='"from a"')
    b, c = await _all(engine)
    await engine.complete(b, output='"from b"')
    await _fail(engine, c)
    assert await engine.states(run_id) == {"a": "completed", "b": "completed", "c": "failed", "d": "cancelled"}

    await engine.retry(run_id)

    assert await engine.states(run_id) == {"a": "completed", "b": "completed", "c": "started", "d": "created"}
    (again,) = await _all(engine)
    assert json.loads(again.input) == {"run": {"n": 1}, "a": "from a"}
    await engine.complete(again, output='"from c"')
    (last,) = await _all(engine)
    assert json.loads(last.input) == {"run": {"n": 1}, "b": "from b", "c": "from c"}
    assert await _finish_with(engine, last) == "completed"


async def _finish_with(engine: Transitions, lease: Lease) -> str:
    await engine.complete(lease)
    return str((await engine.run(lease.run_id)).status)


async def test_nine_of_ten_outputs_of_a_map_stay(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], each=[], end=["each"])
    run_id = await engine.start("f", list(range(10)))
    tasks = await _all(engine)
    await engine.record(*((task, 1, f'"first {task.task_index}"') for task in tasks if task.task_index != 6))
    await _fail(engine, tasks[6])

    await engine.retry(run_id)

    (again,) = await _all(engine)
    assert (again.task_index, json.loads(again.input)) == (6, {"item": 6, "index": 6})
    await engine.complete(again, output='"second"')
    (end,) = await _all(engine)
    assert json.loads(end.input)["each"] == [f"first {n}" for n in range(6)] + [
        "second",
        "first 7",
        "first 8",
        "first 9",
    ]
    assert await _finish_with(engine, end) == "completed"


async def test_a_map_over_a_map(engine: Transitions) -> None:
    await engine.define("f", maps=["outer", "inner"], outer=[], inner=["outer"])
    run_id = await engine.start("f", [1, 2, 3])
    first, *others = await _all(engine)
    await engine.complete(*others, output="7")
    await _fail(engine, first)
    assert await engine.states(run_id) == {"outer": "failed", "inner": "cancelled"}
    await engine.retry(run_id)
    (again,) = await _all(engine)
    await engine.complete(again, output="8")
    inner = await _all(engine)
    assert [json.loads(task.input)["item"] for task in inner] == [8, 7, 7]
    await engine.complete(*inner[:2])
    await _fail(engine, inner[2])
    await engine.retry(run_id)
    assert await engine.states(run_id) == {"outer": "completed", "inner": "started"}
    assert await _finish(engine, run_id) == 1


async def test_a_refused_output_is_made_anew(engine: Transitions) -> None:
    await engine.define("f", maps=["each"], make=[], each=["make"], other=["make"])
    run_id = await engine.start("f")
    await engine.complete(*await _all(engine), output="{}")
    assert await engine.states(run_id) == {"make": "failed", "each": "cancelled", "other": "cancelled"}
    for _ in range(2):
        await engine.retry(run_id)
        # `other` had its task already when the output was refused.
        assert await engine.states(run_id) == {"make": "started", "each": "created", "other": "created"}
        await engine.complete(*await _all(engine), output="{}")
        assert (await engine.run(run_id)).error_code == "TYPE_VIOLATION"
    await engine.retry(run_id)
    await engine.complete(*await _all(engine), output="[1, 2]")
    assert await _finish(engine, run_id) == 3


async def test_empty_maps_behind_a_refused_output_are_undone(engine: Transitions) -> None:
    await engine.define("f", maps=["e1", "e2", "e3"], make=[], e1=["make"], e2=["e1"], e3=["e2"], end=["e3"])
    await engine.rows("select pgflow.add_step('f', 'promised', array['make'], 'map', 2)")
    run_id = await engine.start("f")
    await engine.complete(*await _all(engine), output="[]")
    states = await engine.states(run_id)
    assert (states["make"], states["e3"], states["end"]) == ("failed", "completed", "cancelled")
    await engine.retry(run_id)
    assert set((await engine.states(run_id)).values()) == {"started", "created"}
    await engine.complete(*await _all(engine), output="[1, 2]")
    # promised, e1, e2 and e3 with two tasks each, and the end.
    assert await _finish(engine, run_id) == 9


async def test_a_cascade_of_empty_maps_runs_after_a_retry(engine: Transitions) -> None:
    await engine.define("f", maps=["e1", "e2"], make=[], e1=["make"], e2=["e1"])
    run_id = await engine.start("f")
    await _fail(engine, (await _all(engine))[0])
    await engine.retry(run_id)
    await engine.complete(*await _all(engine), output="[]")
    assert (await engine.run(run_id)).status == "completed"


async def test_an_output_that_was_kept_and_fits_no_step_fails_the_run_again_at_once(engine: Transitions) -> None:
    await engine.define("f", maps=["mx", "my"], x=[], y=[], mx=["x"], my=["y"])
    run_id = await engine.start("f")
    await engine.complete(*await _all(engine), output="{}")
    # Both outputs are wrong, and one is to blame.
    run = await engine.run(run_id)
    blamed, kept = ("x", "y") if run.error_step_index == 0 else ("y", "x")
    assert (await engine.states(run_id))[kept] == "completed"

    assert await engine.retry(run_id) == ["retried"]

    again = await engine.run(run_id)
    assert (again.status, again.error_code, again.revision) == ("failed", "TYPE_VIOLATION", run.revision + 1)
    states = await engine.states(run_id)
    assert (states[kept], states[blamed]) == ("failed", "cancelled")
    await engine.retry(run_id)
    leases = await _all(engine)
    assert len(leases) == 2
    await engine.complete(*leases, output="[]")
    assert (await engine.run(run_id)).status == "completed"


async def test_an_output_too_large_for_the_steps_behind_it_is_made_anew(engine: Transitions) -> None:
    await engine.define("f", a=[], b=["a"], c=["a"])
    run_id = await engine.start("f")
    (a,) = await _all(engine)
    assert await engine.record((a, 1, '"long enough"'), p_max_input_bytes=10) == [1]
    run = await engine.run(run_id)
    assert (run.error_code, run.error_step_index) == ("OUTPUT_TOO_LARGE", 0)
    await engine.retry(run_id, p_max_input_bytes=10)
    (a,) = await _all(engine)
    await engine.complete(a, output='"long enough"')
    assert await _finish(engine, run_id) == 2


async def test_two_outputs_that_are_too_large_for_two_steps(engine: Transitions) -> None:
    await engine.define("f", x=[], y=[], sx=["x"], sy=["y"])
    run_id = await engine.start("f")
    leases = await _all(engine)
    await engine.record(*((lease, 1, '"long enough"') for lease in leases), p_max_input_bytes=10)
    await engine.retry(run_id, p_max_input_bytes=10)
    run = await engine.run(run_id)
    assert (run.status, run.error_code) == ("failed", "OUTPUT_TOO_LARGE")
    await engine.retry(run_id)
    assert await _finish(engine, run_id) == 4


async def test_an_empty_map_that_breaks_a_promise_fails_again(engine: Transitions) -> None:
    await engine.define("f", maps=["first"], first=[])
    await engine.rows("select pgflow.add_step('f', 'second', array['first'], 'map', 3)")
    (started,) = await engine.start_runs([("f", [], None)])
    before = await engine.run(started.run_id)
    assert await engine.retry(started.run_id) == ["retried"]
    run = await engine.run(started.run_id)
    assert (run.status, run.error_code) == ("failed", "INITIAL_TASKS_MISMATCH")
    assert run.revision == before.revision + 1


async def test_a_cancelled_run_goes_on_and_late_results_are_stale(engine: Transitions) -> None:
    await engine.define("f", a=[], b=[], c=["a", "b"])
    run_id = await engine.start("f")
    session = await engine.open_session()
    a, b = sorted(await engine.lease(session), key=lambda lease: lease.step_index)
    await engine.complete(a, output='"kept"')
    assert await engine.cancel(run_id) == [True]
    assert await engine.retry(run_id) == ["retried"]
    assert await engine.states(run_id) == {"a": "completed", "b": "started", "c": "created"}
    assert await engine.complete(b, output='"late"') == [3]
    # Also to the same worker, which may still work on the first one.
    (again,) = await engine.lease(session)
    assert (again.step_index, again.lease_seq) == (1, 2)
    assert await engine.complete(b, output='"late"') == [3]
    assert await engine.complete(again, output='"good"') == [1]
    (c,) = await _all(engine)
    assert json.loads(c.input) == {"run": {}, "a": "kept", "b": "good"}
    assert await _finish_with(engine, c) == "completed"


async def test_a_retry_that_waited_for_its_delay_goes_at_once(engine: Transitions) -> None:
    await engine.define("f", base_delay_s=300, a=[])
    run_id = await engine.start("f")
    (lease,) = await _all(engine)
    await engine.record((lease, 2, "broken"))
    await engine.cancel(run_id)
    await engine.retry(run_id)
    assert await _finish(engine, run_id) == 1


async def test_a_run_may_be_retried_again_and_again(engine: Transitions) -> None:
    await engine.define("f", a=[])
    run_id = await engine.start("f")
    for n in range(1, 5):
        (lease,) = await _all(engine)
        assert (lease.lease_seq, lease.attempt) == (n, 1)
        if n % 2:
            await _fail(engine, lease)
        else:
            await engine.cancel(run_id)
        assert await engine.retry(run_id) == ["retried"]
        assert await engine.retry(run_id) == ["started"]
    assert await _finish(engine, run_id) == 1
    assert (await engine.run(run_id)).revision == 1 + 2 * 4 + 1


async def test_started_and_completed_runs_stay_as_they_are(engine: Transitions) -> None:
    await engine.define("f", a=[])
    started, done, failed = sorted(await engine.start_many("f", 3))
    leases = {lease.run_id: lease for lease in await _all(engine)}
    await engine.complete(leases[done])
    await _fail(engine, leases[failed])
    before = {run_id: await engine.run(run_id) for run_id in (done, started)}
    assert await engine.retry(started, uuid4(), done, failed, failed) == ["started", "completed", "retried"]
    assert {run_id: await engine.run(run_id) for run_id in (done, started)} == before
    assert await engine.retry() == await engine.retry(uuid4()) == []
    assert await engine.complete(leases[started]) == [1]


async def test_many_runs_of_several_flows_at_once(engine: Transitions) -> None:
    await engine.define("f", maps=["m"], m=[], end=["m"])
    await engine.define("g", a=[], b=["a"])
    runs = [*await engine.start_many("f", 20, [1, 2, 3]), *await engine.start_many("g", 20)]
    await engine.complete(*(await _all(engine))[::2])
    await engine.cancel(*runs)
    assert await engine.retry(*runs) == ["retried"] * 40
    while leases := await _all(engine):
        await engine.complete(*leases)
    assert {(await engine.run(run_id)).status for run_id in runs} == {"completed"}


async def test_steps_added_meanwhile_are_no_part_of_it(engine: Transitions) -> None:
    await engine.define("f", a=[])
    run_id = await engine.start("f")
    await _fail(engine, (await _all(engine))[0])
    await engine.rows("select pgflow.add_step('f', 'b', array['a'])")
    await engine.retry(run_id)
    assert (await engine.run(run_id)).step_count == 1
    assert await _finish(engine, run_id) == 1
