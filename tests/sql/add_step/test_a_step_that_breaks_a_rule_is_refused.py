"""pgflow.add_step: what it refuses, with the path, the value shown, and what to do."""

from __future__ import annotations

import pytest

from tests.support.sql import call, refusal, values


@pytest.fixture(autouse=True)
async def etl(conn):
    await call(conn, "create_flow", "etl")
    await call(conn, "add_step", "etl", "a")
    await call(conn, "add_step", "etl", "b")


async def test_the_flow_must_exist(conn):
    for slug in ("nobody", "ETL", None):
        state, reason, message = await refusal(conn, "add_step", slug, "c")

        assert (state, reason) == ("PF404", "FLOW_NOT_FOUND")
        assert message.startswith("flow: ")
        assert message.endswith("; create it first")


WRONG = [
    ({"p_step_slug": None}, "INVALID_SLUG", "step.slug: "),
    ({"p_step_slug": ""}, "INVALID_SLUG", "step.slug: "),
    ({"p_step_slug": "run"}, "INVALID_SLUG", 'step.slug: "run" is no slug; use letters'),
    ({"p_step_slug": "c-d"}, "INVALID_SLUG", 'step.slug: "c-d" is no slug; use letters'),
    ({"p_step_slug": "s" * 129}, "INVALID_SLUG", "step.slug: "),
    ({"p_step_slug": "s" * 100_000}, "INVALID_SLUG", "step.slug: "),
    ({"p_step_type": "Map"}, "FIELD_INVALID", 'step.step_type: "Map" is no type; use single or map'),
    ({"p_initial_tasks": 2}, "INITIAL_TASKS_ON_SINGLE", 'step.initial_tasks: step "c" is single, '),
    ({"p_initial_tasks": -1, "p_step_type": "map"}, "FIELD_OUT_OF_RANGE", "step.initial_tasks: -1 is out of range; "),
    ({"p_max_attempts": 0}, "FIELD_OUT_OF_RANGE", "step.max_attempts: 0 is out of range; use 1 to 1000"),
    ({"p_timeout": 2_592_001}, "FIELD_OUT_OF_RANGE", "step.timeout_s: 2592001 is out of range; use 1 to 2592000"),
    ({"p_base_delay_s": -1}, "FIELD_OUT_OF_RANGE", "step.base_delay_s: -1 is out of range; use 0 to 86400"),
    ({"p_max_delay_s": 604_801}, "FIELD_OUT_OF_RANGE", "step.max_delay_s: 604801 is out of range; use 0 to 604800"),
    ({"p_queue": "no queue"}, "INVALID_SLUG", 'step.queue: "no queue" is no slug; '),
    ({"p_handler": ""}, "INVALID_HANDLER", 'step.handler: "" is no handler name; use letters'),
    ({"p_handler": "h" * 261}, "INVALID_HANDLER", "step.handler: "),
    ({"p_params": "[1]"}, "FIELD_INVALID", "step.params: is of type array; use a JSON object"),
    ({"p_params": "null"}, "FIELD_INVALID", "step.params: is of type null; use a JSON object"),
    (
        {"p_params": '{"x": "' + "y" * 65_536 + '"}'},
        "PAYLOAD_TOO_LARGE",
        "step.params: has 65545 bytes, at most 65536 ",
    ),
    ({"p_params": '{"x": "\\u0000"}'}, "INVALID_JSON", "step.params: cannot be stored ("),
    ({"p_params": '{"x": 1e999999}'}, "INVALID_JSON", "step.params: cannot be stored ("),
    ({"p_depends_on": ["c"]}, "SELF_DEPENDENCY", 'step.depends_on[0]: step "c" depends on itself; drop it'),
    ({"p_depends_on": ["a", "b", "a"]}, "DUPLICATE_DEPENDENCY", 'step.depends_on[2]: step "c" depends on "a" twice; '),
    (
        {"p_depends_on": ["a", "later"]},
        "UNKNOWN_DEPENDENCY",
        'step.depends_on[1]: step "c" depends on "later", which flow "etl" does not have; add that step first',
    ),
    ({"p_depends_on": ["A"]}, "UNKNOWN_DEPENDENCY", 'step.depends_on[0]: step "c" depends on "A"'),
    ({"p_depends_on": [None]}, "UNKNOWN_DEPENDENCY", "step.depends_on[0]: "),
    ({"p_depends_on": ["x" * 100_000]}, "UNKNOWN_DEPENDENCY", "step.depends_on[0]: "),
    (
        {"p_depends_on": ["a", "b"], "p_step_type": "map"},
        "MAP_DEPENDENCIES",
        'step.depends_on: map step "c" has 2 dependencies, a map has none',
    ),
    (
        {"p_depends_on": [f"s{i}" for i in range(2001)]},
        "TOO_MANY_DEPENDENCIES",
        "step.depends_on: 2001 dependencies, at most 2000 are allowed; join them in stages",
    ),
]


@pytest.mark.parametrize(("given", "reason", "begins"), WRONG, ids=[f"{w[1]}-{i}" for i, w in enumerate(WRONG)])
async def test_a_step_that_breaks_a_rule_is_refused(conn, given, reason, begins):
    state, found, message = await refusal(conn, "add_step", **{"p_workflow_slug": "etl", "p_step_slug": "c", **given})

    assert (state, found) == ("PF400", reason)
    assert message.startswith(begins)
    assert "; " in message
    assert len(message) < 600
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [2]


async def test_a_circle_cannot_be_closed(conn):
    await call(conn, "add_step", "etl", "c", ["b"])

    state, reason, message = await refusal(conn, "add_step", "etl", "b", ["c"])

    assert (state, reason) == ("PF409", "STEP_EXISTS")
    assert "depends_on is {}, asked for: {c}" in message


async def test_a_dependency_of_another_flow_or_version_is_unknown(conn):
    await call(conn, "create_flow", "other")

    _, reason, _ = await refusal(conn, "add_step", "other", "c", ["a"])
    assert reason == "UNKNOWN_DEPENDENCY"

    await call(conn, "define_flow", "etl", 3, 30, None, None, None, '[{"slug": "z"}]', p_new_version=True)
    _, reason, _ = await refusal(conn, "add_step", "etl", "c", ["a"])
    assert reason == "UNKNOWN_DEPENDENCY"
