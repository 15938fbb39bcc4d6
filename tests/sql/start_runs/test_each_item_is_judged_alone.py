"""Starting runs: verdicts of a batch, idempotency keys, and starts at the same moment."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tests.support.transitions import Transitions


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any]) -> Any:
    engine = Transitions(conn)
    await engine.define("one", work=[])
    await engine.define("each", maps=["m"], m=[])
    yield engine
    await engine.assert_invariants()


async def _verdicts(engine: Transitions, *items: tuple[str, Any, str | None]) -> list[str]:
    return [row.verdict for row in await engine.start_runs(items)]


async def test_one_bad_item_fails_no_other(engine: Transitions) -> None:
    await engine.rows("select pgflow.create_flow('three')")
    await engine.rows("select pgflow.add_step('three', 'm', '{}', 'map', 3)")
    items = [("one", {}, None), ("gone", {}, None), ("each", {}, None), ("three", [1], None), ("each", [1], None)]
    assert await _verdicts(engine, *items) == [
        "created", "unknown_flow", "type_violation", "initial_tasks_mismatch", "created",
    ]  # fmt: skip
    assert len(await engine.rows("select * from pgflow.runs")) == 2
    assert len(await engine.messages()) == 2


async def test_an_unknown_version_is_refused_with_the_latest(engine: Transitions) -> None:
    (row,) = await engine.rows(
        "select * from pgflow.start_runs(array['one'], array[7], array['{}'], array[''], array[null::text],"
        " array[null::bytea], array[pgflow.new_run_id()], array[null::text])"
    )
    assert (row.verdict, row.detail) == ("unknown_version", "1")


async def test_a_key_gives_its_run_for_the_same_input_only(engine: Transitions) -> None:
    (first,) = await engine.start_runs([("one", {"a": 1}, "k")])
    (same,) = await engine.start_runs([("one", {"a": 1}, "k")])
    (other,) = await engine.start_runs([("one", {"a": 2}, "k")])
    assert (first.verdict, same.verdict, other.verdict) == ("created", "existing", "key_reused")
    assert first.run_id == same.run_id
    assert len(await engine.messages()) == 1


async def test_a_key_twice_in_one_batch_is_one_run(engine: Transitions) -> None:
    rows = await engine.start_runs([("one", 1, "k"), ("one", 1, "k"), ("one", 2, "k"), ("one", 1, "other")])
    assert [row.verdict for row in rows] == ["created", "existing", "key_reused", "created"]
    assert rows[0].run_id == rows[1].run_id
    assert len(await engine.rows("select * from pgflow.runs")) == 2


async def test_a_key_belongs_to_its_flow(engine: Transitions) -> None:
    assert await _verdicts(engine, ("one", [], "k"), ("each", [], "k")) == ["created", "created"]


async def test_a_key_outlives_the_end_of_its_run(engine: Transitions) -> None:
    await engine.start_runs([("one", {}, "k")])
    await engine.complete(*await engine.lease(await engine.open_session()))
    (row,) = await engine.start_runs([("one", {}, "k")])
    assert (row.verdict, row.status) == ("existing", "completed")


async def test_the_same_batch_sent_again_starts_nothing_twice(engine: Transitions) -> None:
    """A caller who did not hear the answer sends the batch again, with the same run ids."""
    (run_id,) = [row.r for row in await engine.rows("select pgflow.new_run_id() as r")]
    for _ in range(2):
        (row,) = await engine.rows(
            "select * from pgflow.start_runs(array['one'], array[0], array['{}'], array[''], array[null::text],"
            " array[null::bytea], array[%s]::uuid[], array[null::text])", run_id,
        )  # fmt: skip
        assert (row.verdict, row.run_id) == ("created", run_id)
    assert len(await engine.messages()) == 1


async def test_a_batch_of_nothing(engine: Transitions) -> None:
    assert await engine.start_runs([]) == []


async def test_equal_keys_at_the_same_moment_are_one_run(engine: Transitions, database: str) -> None:
    keys = [f"k{n}" for n in range(200)]
    orders = [keys, keys[::-1], keys[100:] + keys[:100]]
    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in orders]
    try:
        batches = await asyncio.gather(
            *(
                Transitions(conn).start_runs([("one", {}, key) for key in order])
                for conn, order in zip(conns, orders, strict=True)
            )
        )
    finally:
        for conn in conns:
            await conn.close()
    ids = [
        {key: row.run_id for key, row in zip(order, batch, strict=True)}
        for order, batch in zip(orders, batches, strict=True)
    ]
    assert ids[0] == ids[1] == ids[2]
    assert sorted(row.verdict for batch in batches for row in batch).count("created") == 200


async def test_a_key_of_a_start_that_was_rolled_back_is_free(engine: Transitions, database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        async with engine.conn.transaction(force_rollback=True):
            await engine.start_runs([("one", {}, "k")])
            waiting = asyncio.create_task(Transitions(other).start_runs([("one", {"b": 1}, "k")]))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        (row,) = await waiting
    assert row.verdict == "created"


async def test_inputs_stay_as_they_came(engine: Transitions) -> None:
    text = '{"b": 1e400,  "a": -0.0, "a": "\\ud83d\\ude00"}'
    run_id = await engine.start("one", text)
    (lease,) = await engine.lease(await engine.open_session())
    assert lease.run_id == run_id
    assert lease.input == '{"run":' + text + "}"


async def test_runs_and_steps_begin_at_revision_one(engine: Transitions) -> None:
    await engine.start("each", json.dumps([1, 2]))
    rows = await engine.rows("select revision from pgflow.runs union all select revision from pgflow.step_states")
    assert [row.revision for row in rows] == [1, 1]
