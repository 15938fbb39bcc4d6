"""Thousands of plans with the same handlers: what a start, a definition and the removal of a few read of the others."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.plans import Statement, explained
from tests.support.sql import call
from tests.support.transitions import Transitions

_DEFINITIONS = {"workflows", "workflow_versions", "workflow_steps", "workflow_step_dependencies_def", "routes"}


def slugs(first: int, count: int) -> list[str]:
    return [f"plan:{number:032x}" for number in range(first, first + count)]


async def define(conn: Any, first: int, count: int) -> list[str]:
    steps = [
        {"slug": slug, "step_type": "single", "depends_on": deps, "handler": slug, "params": {}}
        for slug, deps in (("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"]))
    ]
    plan = json.dumps({"max_attempts": 3, "timeout_s": 30, "steps": steps})
    await call(conn, "define_plans", slugs(first, count), [plan] * count)
    return slugs(first, count)


def read_in_vain(statements: list[Statement], limit: int) -> list[Any]:
    return [
        (scan, statement.text)
        for statement in statements
        for scan in statement.scans
        if scan.table in _DEFINITIONS | {"runs"} and (scan.index is None or scan.rows > limit)
    ]


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["never analysed", "analysed"])
async def engine(conn: psycopg.AsyncConnection[Any], request: pytest.FixtureRequest) -> Transitions:
    """3,000 plans, each with a run."""
    engine = Transitions(conn)
    for first in range(0, 3000, 500):
        await engine.start_runs([(slug, None, None) for slug in await define(conn, first, 500)])
    if request.param:
        await conn.execute("analyze")
    return engine


async def test_a_start_reads_the_plans_that_start(engine: Transitions) -> None:
    new = await define(engine.conn, 10_000, 50)
    async with explained(engine.conn) as statements:
        verdicts = await engine.start_runs([(slug, None, "k" + slug) for slug in new])
    assert {verdict.verdict for verdict in verdicts} == {"created"}
    # 50 plans of 4 steps, each looked at with its route.
    assert read_in_vain(statements, 50 * 4 * 4) == []


async def test_a_definition_reads_the_plans_that_it_makes(engine: Transitions) -> None:
    async with explained(engine.conn) as statements:
        await define(engine.conn, 10_000, 50)
    assert any("workflow_step_dependencies_def" in statement.text for statement in statements)
    assert read_in_vain(statements, 50 * 4) == []


async def test_a_removal_reads_the_plans_that_go_and_one_step_of_another(engine: Transitions) -> None:
    await define(engine.conn, 10_000, 50)
    await engine.rows("update pgflow.workflows set prune_at = null")
    await engine.rows(
        "update pgflow.workflows set prune_at = '2000-01-01' where workflow_slug >= %s", slugs(10_000, 1)[0]
    )
    async with explained(engine.conn) as statements:
        (row,) = await engine.rows("select pgflow.prune_plans() as looked_at")
    assert row.looked_at == 50
    assert read_in_vain(statements, 50 * 4 * 2) == []


async def test_old_runs_are_found_by_their_end(engine: Transitions) -> None:
    await engine.rows(
        "update pgflow.runs set status = 'cancelled', completed_at = '2000-01-01' where run_id in"
        " (select run_id from pgflow.runs order by run_id limit 20)"
    )
    async with explained(engine.conn) as statements:
        (row,) = await engine.rows("select pgflow.prune_ended_runs(60) as pruned")
    assert row.pruned == 20
    assert read_in_vain(statements, 200) == []
