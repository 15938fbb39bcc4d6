"""pgflow.retry_runs on maps above the window of 1,000 messages: written further, sent further, nothing twice."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.sql import values
from tests.support.transitions import Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("many", maps=["work"], work=[], end=["work"])
    yield engine
    await engine.assert_invariants()


async def _finish(engine: Transitions, run_id: UUID) -> int:
    """Completes what is open; returns the number of the map's tasks it took."""
    session, count = await engine.open_session(), 0
    while leased := await engine.lease(session, 400):
        await engine.assert_invariants()
        count += sum(lease.step_index == 0 for lease in leased)
        if leased[0].step_index == 1:
            assert json.loads(leased[0].input)["work"] == list(range(len(json.loads(leased[0].input)["work"])))
        await engine.record(*((lease, 1, str(lease.task_index)) for lease in leased))
    assert (await engine.run(run_id)).status == "completed"
    return count


@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_map_whose_rows_were_being_written_is_written_to_its_end(engine: Transitions, chunks: int) -> None:
    run_id = await engine.start("many", list(range(5000)))
    for _ in range(chunks):
        await engine.rows("select pgflow.expand_maps(1500)")
    leased = await engine.lease(await engine.open_session(), 300)
    await engine.record(*((lease, 1, str(lease.task_index)) for lease in leased))
    await engine.cancel(run_id)
    assert await values(engine.conn, "select count(*) from pgflow.map_expansions") == [0]
    await engine.conn.execute("listen pgflow_expand")

    assert await engine.retry(run_id) == ["retried"]

    assert len(await engine.messages()) == (1000 if chunks else 700)
    assert [note.channel async for note in engine.conn.notifies(timeout=0)] == ["pgflow_expand"]
    await engine.assert_invariants()
    assert await engine.expand(1500) >= 2
    assert await _finish(engine, run_id) == 4700


async def test_a_map_that_is_written_is_sent_by_the_window(engine: Transitions) -> None:
    run_id = await engine.start("many", list(range(3000)))
    await engine.expand()
    session = await engine.open_session()
    leased = await engine.lease(session, 900)
    await engine.record(*((lease, 1, str(lease.task_index)) for lease in leased[:450]))
    await engine.record((leased[450], 2, "final"))
    await engine.retry(run_id)
    assert len(await engine.messages()) == 1000
    assert await values(engine.conn, "select count(*) from pgflow.map_expansions") == [0]
    assert await _finish(engine, run_id) == 3000 - 450


async def test_the_output_that_made_a_map_too_large_is_made_anew(engine: Transitions) -> None:
    run_id = await engine.start("many", list(range(3000)))
    await engine.expand()
    leased = await engine.lease(await engine.open_session(), 200)
    results = [(lease, 1, str(lease.task_index)) for lease in leased[:-1]]
    verdicts = await engine.record(*results, (leased[-1], 1, json.dumps("x" * 2000)), p_max_output_bytes=2000)
    assert verdicts == [1] * 199 + [4]
    await engine.retry(run_id)
    # The refused output counts no more: only those that are there do.
    assert await values(engine.conn, "select output_bytes < 2000 from pgflow.step_states where step_index = 0") == [
        True
    ]
    assert len(await engine.messages()) == 1000
    assert await _finish(engine, run_id) == 3000 - 199


async def test_a_map_that_had_not_started(engine: Transitions) -> None:
    await engine.define("late", maps=["work"], make=[], work=["make"])
    run_id = await engine.start("late")
    await engine.cancel(run_id)
    await engine.retry(run_id)
    (make,) = await engine.lease(await engine.open_session())
    await engine.complete(make, output=json.dumps([0] * 2500))
    assert await engine.expand() == 1
    session, count = await engine.open_session(), 0
    while leased := await engine.lease(session):
        await engine.complete(*leased)
        count += len(leased)
    assert count == 2500
    assert (await engine.run(run_id)).status == "completed"
