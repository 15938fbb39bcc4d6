"""pgflow.define_plans: what it stores, what it leaves alone, and who wins a race; what nobody may do to a plan."""

from __future__ import annotations

import json
from typing import Any

from tests.support.sql import at_once, call, call_one, refusal, values


def slug(number: int) -> str:
    return f"plan:{number:032x}"


def plan(*steps: dict[str, Any], **options: Any) -> str:
    filled = [{"step_type": "single", "depends_on": [], "handler": s["slug"], "params": {}} | s for s in steps]
    return json.dumps(
        {"max_attempts": 3, "timeout_s": 30, "base_delay_s": None, "max_delay_s": None} | options | {"steps": filled}
    )


DIAMOND = plan(
    {"slug": "a", "params": {"b": 1, "a": [1.5, None]}},
    {"slug": "b", "depends_on": ["a"], "handler": "shared", "max_attempts": 5, "timeout_s": 7},
    {"slug": "c", "depends_on": ["a"], "step_type": "map", "initial_tasks": 3, "base_delay_s": 0, "max_delay_s": 9},
    {"slug": "d", "depends_on": ["b", "c"]},
    max_attempts=9, timeout_s=60, base_delay_s=2, max_delay_s=20,
)  # fmt: skip


async def test_a_plan_has_the_shape_that_was_given(conn):
    await call(conn, "define_plans", [slug(1)], [DIAMOND])

    (version_id,) = await values(conn, "select version_id from pgflow.workflow_versions")
    shape = await call_one(conn, "version_shape", version_id)
    assert {name: shape[name] for name in ("max_attempts", "timeout_s", "base_delay_s", "max_delay_s", "queue")} == {
        "max_attempts": 9, "timeout_s": 60, "base_delay_s": 2, "max_delay_s": 20, "queue": "plans",
    }  # fmt: skip
    steps = shape["steps"]
    assert {name: step["depends_on"] for name, step in steps.items()} == {
        "a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"],
    }  # fmt: skip
    assert steps["a"]["params"] == {"a": [1.5, None], "b": 1}
    assert (steps["b"]["handler"], steps["b"]["max_attempts"], steps["b"]["timeout_s"]) == ("shared", 5, 7)
    c = steps["c"]
    assert (c["step_type"], c["initial_tasks"], c["base_delay_s"], c["max_delay_s"]) == ("map", 3, 0, 9)
    assert await values(conn, "select step_slug from pgflow.workflow_steps order by step_index") == list("abcd")
    assert await values(conn, "select deps_count from pgflow.workflow_steps order by step_index") == [0, 1, 1, 2]


async def test_what_is_stored_equals_a_flow_of_that_shape(conn):
    await call(conn, "define_plans", [slug(1)], [DIAMOND])
    given = json.loads(DIAMOND)
    await call(
        conn, "define_flow", "f", 9, 60, 2, 20, "plans", json.dumps([s | {"queue": None} for s in given["steps"]])
    )

    first, second = [
        await call_one(conn, "version_shape", version_id)
        for version_id in await values(conn, "select version_id from pgflow.workflow_versions order by 1")
    ]
    assert first == second
    # Whatever else a reader may look at.
    assert await values(
        conn,
        "select count(distinct (step_index, dep_index, dep_slug, step_slug)) from pgflow.workflow_step_dependencies_def",
    ) == [4]


async def test_a_known_plan_beside_a_new_one_is_left_alone(conn):
    await call(conn, "define_plans", [slug(2)], [DIAMOND])
    before = await call(conn, "version_shape", 1)

    await call(conn, "define_plans", [slug(3), slug(2), slug(1)], [plan({"slug": "x"}), plan({"slug": "y"}), plan()])

    assert await call(conn, "version_shape", 1) == before
    assert await values(
        conn, "select workflow_slug || ' ' || step_slug from pgflow.workflow_steps where version_id > 1"
    ) == [f"{slug(3)} x"]
    assert await values(conn, "select count(*) from pgflow.workflow_versions") == [3]


async def test_of_fifty_makers_at_once_one_wins_and_none_fails(database, conn):
    slugs = [slug(number) for number in range(4)]
    orders = [slugs, slugs[::-1]] * 25

    await at_once(database, [("define_plans", (order, [DIAMOND] * 4)) for order in orders])

    assert await values(conn, "select count(*) from pgflow.workflow_versions") == [4]
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [16]
    assert await values(conn, "select count(*) from pgflow.workflow_step_dependencies_def") == [16]


async def test_plans_add_no_relation(conn):
    relations = "select count(*) from pg_class"
    before = await values(conn, relations)

    await call(conn, "define_plans", [slug(n) for n in range(300)], [plan({"slug": f"s{n}"}) for n in range(300)])

    assert await values(conn, "select count(*) from pgflow.workflows") == [300]
    assert await values(conn, relations) == before


async def test_nobody_makes_changes_or_deletes_a_plan_by_name(conn):
    await call(conn, "define_plans", [slug(1)], [DIAMOND])

    for function, arguments in (
        ("create_flow", (slug(1),)),
        ("create_flow", (slug(2),)),
        ("add_step", (slug(1), "e")),
        ("add_step", (slug(2), "e")),
        ("delete_flow", (slug(1),)),
        ("delete_flow", (slug(2), True)),
        ("define_flow", (slug(1), None, None, None, None, None, "[]")),
    ):
        state, reason, message = await refusal(conn, function, *arguments)
        assert (state, reason) == ("PF400", "INVALID_SLUG")
        assert "is the name of an inline plan" in message
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [4]
