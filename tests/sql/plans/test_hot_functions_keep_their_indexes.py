"""The hot functions take the same indexes whatever the statistics say: never gathered, of empty tables, of full ones."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from tests.support.plans import Statement, explained
from tests.support.transitions import Transitions

_STATISTICS = ["never", "empty", "small", "full"]

#: (table, what reads it): never in a hot function.
_FORBIDDEN = {
    ("runs", "runs_active"),
    ("runs", "runs_active_by_version"),
    ("runs", "runs_ended"),
    ("runs", "runs_unsuccessful"),
}
#: Columns that every scan of a table asks for by equality.
_ENTERED_BY = {
    "runs": ["run_id"],
    "step_states": ["run_id"],
    "step_tasks": ["run_id"],
    "workflow_steps": ["version_id"],
    "workflow_step_dependencies_def": ["version_id", "(dep_index|step_index)"],
    "workflow_versions": ["version_id"],
}
_BIG = {"runs", "step_states", "step_tasks", "task_errors"}


@pytest.fixture
async def engine(conn: psycopg.AsyncConnection[Any], request: pytest.FixtureRequest) -> Transitions:
    """A flow with a map and a join, and statistics as the test asks for them."""
    engine = Transitions(conn)
    await engine.define("hot", maps=["each"], make=[], other=["make"], each=["make"], join=["other", "each"])
    if request.param == "empty":
        await conn.execute("analyze")
    elif request.param != "never":
        await engine.start_many("hot", 20 if request.param == "small" else 2000)
        await engine.lease(await engine.open_session(), 10 if request.param == "small" else 500)
        await conn.execute("analyze")
    return engine


async def _explained(engine: Transitions) -> list[Statement]:
    session = await engine.open_session()
    await engine.start_many("hot", 30)
    async with explained(engine.conn) as statements:
        for _ in range(3):
            leased = await engine.lease(session, 40)
            await engine.complete(*leased[:-4], output="[1, 2]")
            await engine.record(*((lease, 2, "broken") for lease in leased[-4:-2]))
            await engine.record(*((lease, 3, None) for lease in leased[-2:]))
        await engine.rows("select pgflow.promote_tasks()")
    return [s for s in statements if "pgflow" in s.text and "routes order by random()" not in s.text]


@pytest.mark.parametrize("engine", _STATISTICS, indirect=True)
async def test_no_hot_statement_reads_a_whole_table(engine: Transitions) -> None:
    for statement in await _explained(engine):
        whole = [scan for scan in statement.scans if scan.index is None and scan.table in _BIG]
        assert not whole, (whole, statement.text)


@pytest.mark.parametrize("engine", _STATISTICS, indirect=True)
async def test_every_index_is_entered_by_what_is_looked_for(
    engine: Transitions, request: pytest.FixtureRequest
) -> None:
    """An index that is read from one end to the other, or for a whole version, costs more the more there is of others."""
    for statement in await _explained(engine):
        for scan in statement.scans:
            if scan.index == "step_tasks_waiting":
                continue  # the promoter asks for what is due, of whatever run
            if scan.table == "step_tasks" and "[empty]" in request.node.name:
                continue  # an update cannot be told where to begin; the first autoanalyze of the table mends it
            for column in _ENTERED_BY.get(scan.table, ()):
                assert re.search(rf"\b{column} = ", scan.condition), (column, scan, statement.text)


@pytest.mark.parametrize("engine", _STATISTICS, indirect=True)
async def test_no_hot_statement_goes_through_an_index_of_what_is_in_flight(engine: Transitions) -> None:
    for statement in await _explained(engine):
        wrong = [scan for scan in statement.scans if (scan.table, scan.index) in _FORBIDDEN]
        assert not wrong, (wrong, statement.text)


@pytest.mark.parametrize("engine", _STATISTICS, indirect=True)
async def test_queues_are_read_by_route(engine: Transitions) -> None:
    takes = [s for s in await _explained(engine) if s.text.startswith("with found as materialized")]
    assert takes
    for statement in takes:
        assert {scan.index for scan in statement.scans} == {"q_pgflow_2_by_route", "q_pgflow_2_pkey"}
