"""Joins, cascades and deep or wide graphs."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.transitions import Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    yield engine
    await engine.assert_invariants()


async def _finish(engine: Transitions, credits: int = 1000) -> int:
    session = await engine.open_session()
    count = 0
    while leased := await engine.lease(session, credits):
        await engine.complete(*leased)
        await engine.assert_invariants()
        count += len(leased)
    return count


async def test_a_flow_without_steps_completes_at_once(engine: Transitions) -> None:
    await engine.define("nothing")
    run = await engine.run(await engine.start("nothing"))
    assert (run.status, run.remaining_steps, run.revision) == ("completed", 0, 1)


async def test_two_hundred_steps_join_in_one(engine: Transitions) -> None:
    names = [f"s{n}" for n in range(200)]
    await engine.define("wide", **{name: [] for name in names}, end=names)
    run_id = await engine.start("wide")
    assert await _finish(engine, 37) == 201
    assert (await engine.run(run_id)).status == "completed"


async def test_a_join_of_two_hundred_in_one_batch_starts_once(engine: Transitions) -> None:
    names = [f"s{n}" for n in range(200)]
    await engine.define("wide", **{name: [] for name in names}, end=names)
    await engine.start("wide")
    session = await engine.open_session()
    await engine.complete(*await engine.lease(session), output="7")
    (end,) = await engine.lease(session)
    assert json.loads(end.input) == {"run": {}} | dict.fromkeys(names, 7)


async def test_sixty_empty_maps_complete_in_the_transaction_that_starts_them(engine: Transitions) -> None:
    steps = {f"m{n}": [f"m{n - 1}"] if n else [] for n in range(60)}
    await engine.define("deep", maps=list(steps), **steps)
    run_id = await engine.start("deep", [])
    assert (await engine.run(run_id)).status == "completed"
    assert await engine.messages() == []


async def test_an_empty_cascade_tells_the_starter_which_routes_are_ready(engine: Transitions) -> None:
    await engine.define("f", maps=["m", "n"], m=[], n=["m"], end=["n"])
    (started,) = await engine.start_runs([("f", [], None)])
    (message,) = await engine.rows("select (message->>'k')::int as route from pgmq.q_pgflow_2")
    assert message.route in started.ready_routes


async def test_empty_maps_and_others_join(engine: Transitions) -> None:
    await engine.define("f", maps=["m", "n"], m=[], n=["m"], a=[], b=["n", "a"], c=["b", "m", "n"])
    run_id = await engine.start("f", [])
    session = await engine.open_session()
    (a,) = await engine.lease(session)
    await engine.complete(a, output="5")
    (b,) = await engine.lease(session)
    assert b.input == '{"run":[],"n":[],"a":5}'
    await engine.complete(b)
    (c,) = await engine.lease(session)
    assert c.input == '{"run":[],"m":[],"n":[],"b":1}'
    await engine.complete(c)
    assert (await engine.run(run_id)).status == "completed"


async def test_a_map_of_a_map_of_a_map_keeps_bytes_and_order(engine: Transitions) -> None:
    await engine.define("f", maps=["a", "b", "c"], a=[], b=["a"], c=["b"], end=["c"])
    odd = ['{"z": 1, "a": 1e400}', "-0.0", ' "\\ud83d\\ude00" ', "null", '{"k":1,"k":2}', "1E2"]
    run_id = await engine.start("f", "[" + ",".join(odd) + "]")
    session = await engine.open_session()
    for level in range(3):
        leased = await engine.lease(session)
        expected = [text.strip() if level == 0 else text for text in odd]
        assert {lease.task_index: lease.input for lease in leased} == {
            n: f'{{"item":{text},"index":{n}}}' for n, text in enumerate(expected)
        }
        await engine.record(*((lease, 1, odd[lease.task_index]) for lease in leased))
    (end,) = await engine.lease(session)
    assert end.input == '{"run":[' + ",".join(odd) + '],"c":[' + ",".join(odd) + "]}"
    await engine.complete(end)
    assert (await engine.run(run_id)).status == "completed"


async def test_an_empty_map_in_the_middle_is_passed(engine: Transitions) -> None:
    await engine.define("f", maps=["m"], make=[], m=["make"], end=["m"])
    run_id = await engine.start("f")
    session = await engine.open_session()
    await engine.complete(*await engine.lease(session), output=" [ ] ")
    (end,) = await engine.lease(session)
    assert end.input == '{"run":{},"m":[]}'
    await engine.complete(end)
    run = await engine.run(run_id)
    assert run.status == "completed"


async def test_a_step_added_later_is_no_part_of_the_run(engine: Transitions) -> None:
    await engine.define("f", a=[])
    before = await engine.start("f")
    await engine.rows("select pgflow.add_step('f', 'b', array['a'])")
    await engine.rows("select pgflow.add_step('f', 'lonely')")
    after = await engine.start("f")
    assert await _finish(engine) == 4
    assert set(await engine.states(before)) == {"a"}
    assert set(await engine.states(after)) == {"a", "b", "lonely"}
    assert {(await engine.run(run)).status for run in (before, after)} == {"completed"}


async def test_a_large_input_of_a_map_is_no_ones_input(engine: Transitions) -> None:
    """A map's dependency is dealt out in items, so the limit of an assembled input is not for it."""
    await engine.define("f", maps=["m"], make=[], m=["make"])
    run_id = await engine.start("f")
    (make,) = await engine.lease(await engine.open_session())
    await engine.record((make, 1, "[" + ",".join(["1"] * 500) + "]"), p_max_input_bytes=100)
    assert (await engine.run(run_id)).status == "started"
