"""Maps above 2,000 items: rows in chunks, a thousand messages at a time, and an end in the middle."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from tests.support.transitions import Transitions


async def _started(conn: psycopg.AsyncConnection[Any], items: int) -> tuple[Transitions, Any]:
    engine = Transitions(conn)
    await engine.define("many", maps=["work"], make=[], work=["make"], end=["work"])
    run_id = await engine.start("many")
    session = await engine.open_session()
    (make,) = await engine.lease(session)
    assert await engine.complete(make, output=json.dumps(list(range(items)))) == [1]
    return engine, run_id


async def _expand_all(engine: Transitions, chunk: int) -> int:
    chunks = 0
    while (await engine.rows("select pgflow.expand_maps(%s) as more", chunk))[0].more:
        chunks += 1
        await engine.assert_invariants()
    return chunks


async def test_the_first_window_is_there_at_once_and_the_rest_follows(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, run_id = await _started(conn, 5000)
    assert len(await engine.messages()) == 1000
    await engine.assert_invariants()
    assert await _expand_all(engine, 1500) == 3
    assert len(await engine.messages()) == 1000
    session = await engine.open_session()
    done = 0
    while leased := await engine.lease(session, 700):
        assert len(await engine.messages()) <= 1000
        done += len([lease for lease in leased if lease.step_index == 1])
        await engine.record(*((lease, 1, str(lease.task_index)) for lease in leased))
        await engine.assert_invariants()
    assert done == 5000
    assert (await engine.run(run_id)).status == "completed"


async def test_a_map_that_is_written_in_chunks_calls_for_the_expander(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.execute("listen pgflow_expand")
    await _started(conn, 2000)
    assert [note.channel async for note in conn.notifies(timeout=0)] == []
    engine = Transitions(conn)
    await engine.define("root", maps=["work"], work=[])
    await engine.start("root", list(range(2001)))
    assert [note.channel async for note in conn.notifies(timeout=0)] == ["pgflow_expand"]


async def test_the_outputs_come_in_the_order_of_the_items(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, _ = await _started(conn, 2500)
    await _expand_all(engine, 10_000)
    session = await engine.open_session()
    while leased := await engine.lease(session, 999):
        if leased[0].step_index == 2:
            assert json.loads(leased[0].input)["work"] == list(range(2500))
            break
        await engine.record(*((lease, 1, str(lease.task_index)) for lease in reversed(leased)))


async def test_a_cancel_in_the_middle_leaves_nothing_to_write(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, run_id = await _started(conn, 5000)
    await engine.rows("select pgflow.expand_maps(1500)")
    await engine.rows("select * from pgflow.cancel_runs(array[%s]::uuid[])", run_id)
    await engine.assert_invariants()
    assert await engine.messages() == []
    assert not (await engine.rows("select pgflow.expand_maps() as more"))[0].more
    assert not await engine.rows("select * from pgflow.map_expansions")


async def test_a_failed_item_ends_the_map_while_rows_are_missing(conn: psycopg.AsyncConnection[Any]) -> None:
    engine, run_id = await _started(conn, 5000)
    session = await engine.open_session()
    leased = await engine.lease(session, 3)
    assert await engine.record((leased[0], 1, "1"), (leased[1], 2, "final"), (leased[2], 1, "1")) == [1, 1, 1]
    run = await engine.run(run_id)
    assert (run.status, run.error_step_index, run.error_task_index) == ("failed", 1, leased[1].task_index)
    await engine.assert_invariants()
    assert await engine.messages() == []


async def test_the_output_that_crosses_the_limit_of_a_map_fails_its_task(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("fat", maps=["work"], work=[])
    run_id = await engine.start("fat", [1, 2, 3])
    session = await engine.open_session()
    leased = await engine.lease(session)
    fat = json.dumps("x" * 400)
    assert await engine.record((leased[0], 1, fat), (leased[1], 1, fat), p_max_output_bytes=1000) == [1, 1]
    assert await engine.record((leased[2], 1, fat), p_max_output_bytes=1000) == [4]
    run = await engine.run(run_id)
    assert (run.status, run.error_code, run.error_task_index) == ("failed", "OUTPUT_TOO_LARGE", leased[2].task_index)
    await engine.assert_invariants()


async def test_an_input_beyond_the_limit_fails_the_step_that_crossed_it(conn: psycopg.AsyncConnection[Any]) -> None:
    engine = Transitions(conn)
    await engine.define("join", left=[], right=[], both=["left", "right"])
    run_id = await engine.start("join")
    session = await engine.open_session()
    left, right = await engine.lease(session)
    fat = json.dumps("x" * 600)
    assert await engine.record((left, 1, fat), p_max_input_bytes=1000) == [1]
    await engine.record((right, 1, fat), p_max_input_bytes=1000)
    run = await engine.run(run_id)
    assert (run.status, run.error_code, run.error_step_index) == ("failed", "OUTPUT_TOO_LARGE", right.step_index)
    await engine.assert_invariants()
