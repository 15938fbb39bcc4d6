"""pgflow.define_flow: the whole definition in one transaction, its versions, and who wins a race."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.sql import at_once, call, call_one, refusal, values


def arguments(
    *steps: dict[str, Any], slug: str = "etl", timeout: int | None = None, queue: str | None = None, new: bool = False
) -> tuple[Any, ...]:
    return (slug, None, timeout, None, None, queue, json.dumps(steps), new)


async def define(conn: Any, *steps: dict[str, Any], **options: Any) -> tuple[int, bool]:
    row = await call_one(conn, "define_flow", *arguments(*steps, **options))
    return row["version"], row["created"]


A: dict[str, Any] = {"slug": "a"}
B: dict[str, Any] = {"slug": "b", "depends_on": ["a"]}
C: dict[str, Any] = {"slug": "c", "depends_on": ["a", "b"], "params": {"x": 1}, "timeout_s": 9}


async def test_all_steps_are_there_at_once(conn):
    assert await define(conn, A, B, C) == (1, True)

    assert await values(conn, "select step_slug from pgflow.workflow_steps order by step_index") == ["a", "b", "c"]
    assert await values(conn, "select timeout from pgflow.workflow_steps order by step_index") == [None, None, 9]
    assert await values(conn, "select count(*) from pgflow.workflow_step_dependencies_def") == [3]


async def test_create_and_add_make_the_same(conn):
    await call(conn, "create_flow", "etl")
    await call(conn, "add_step", "etl", "a")
    await call(conn, "add_step", "etl", "b", ["a"])

    assert await define(conn, A, B) == (1, False)


async def test_the_order_of_steps_and_dependencies_is_no_part_of_the_shape(conn):
    await define(conn, A, {"slug": "z"}, {"slug": "c", "depends_on": ["a", "z"]})

    assert await define(conn, {"slug": "z"}, A, {"slug": "c", "depends_on": ["z", "a"]}) == (1, False)


async def test_params_that_are_equal_as_json_are_equal(conn):
    await define(conn, C | {"depends_on": []})

    assert await define(conn, C | {"depends_on": [], "params": {"x": 1.0}}) == (1, False)


async def test_null_options_are_the_defaults(conn):
    await call(conn, "create_flow", "etl", 3, 30)

    assert await define(conn) == (1, False)
    assert await values(conn, "select array[max_attempts, timeout] from pgflow.workflows") == [[3, 30]]


async def test_without_steps_only_the_options_of_the_latest_version_are_compared(conn):
    await define(conn, A, B)
    assert await define(conn) == (1, False)

    assert await define(conn, A, timeout=60, new=True) == (2, True)
    assert await define(conn, timeout=60) == (2, False)
    state, reason, message = await refusal(conn, "define_flow", *arguments())
    assert (state, reason) == ("PF409", "FLOW_EXISTS")
    assert "timeout_s is 60, asked for: 30" in message
    # The steps were not asked about.
    assert 'step "' not in message


async def test_steps_for_a_flow_without_steps_are_another_shape(conn):
    await call(conn, "create_flow", "etl")

    state, reason, message = await refusal(conn, "define_flow", *arguments(A))

    assert (state, reason) == ("PF409", "FLOW_EXISTS")
    assert 'step "a" is new' in message
    assert await define(conn, A, new=True) == (2, True)


async def test_another_shape_is_refused_with_the_differences_from_the_latest(conn):
    await define(conn, A)
    await define(conn, A, B, C, new=True)

    changed = {**C, "depends_on": ["a"], "params": {"x": 2}, "handler": "h"}
    state, reason, message = await refusal(conn, "define_flow", *arguments(A, changed, {"slug": "d"}, timeout=60))

    assert (state, reason) == ("PF409", "FLOW_EXISTS")
    for words in (
        'flow "etl" exists with another shape: ',
        'depends_on of step "c" is ["a", "b"], asked for: ["a"]',
        'handler of step "c" is etl.c, asked for: h',
        'params of step "c" is {"x": 1}, asked for: {"x": 2}',
        'step "b" exists, not asked for',
        'step "d" is new',
        "timeout_s is 30, asked for: 60",
        "; use the same shape, another slug, or set new_version",
    ):
        assert words in message


async def test_of_many_differences_ten_are_named(conn):
    await define(conn, *({"slug": f"s{i}"} for i in range(30)))

    _, _, message = await refusal(conn, "define_flow", *arguments(A))

    assert " and 21 more; " in message


async def test_a_new_version_is_the_latest_and_the_old_one_stays(conn):
    await define(conn, A)

    assert await define(conn, B | {"depends_on": []}, timeout=60, new=True) == (2, True)

    assert await values(conn, "select array[latest_version, timeout] from pgflow.workflows") == [[2, 60]]
    assert await values(conn, "select timeout from pgflow.workflow_versions order by version") == [30, 60]
    assert await values(
        conn, "select step_slug || step_index || version from pgflow.workflow_steps order by version"
    ) == [
        "a01",
        "b02",
    ]
    # One flow, one queue.
    assert await values(conn, "select count(distinct queue_id) from pgflow.workflow_versions") == [1]


async def test_a_shape_that_was_there_before_is_found_again(conn):
    await define(conn, A)
    await define(conn, A, B, new=True)

    for new in (False, True):
        assert await define(conn, A, new=new) == (1, False)
    assert await values(conn, "select latest_version from pgflow.workflows") == [2]


async def test_a_version_that_goes_from_a_shared_queue_to_its_own_and_back_finds_both_again(conn):
    await define(conn, A, queue="plans")
    await define(conn, A, new=True)
    await define(conn, A, B, queue="plans", new=True)
    await define(conn, A, B, new=True)

    one, two, three, four = await values(conn, "select queue_id from pgflow.workflow_versions order by version")
    assert one == three
    assert two == four
    assert one != two


async def test_steps_added_to_the_latest_version_count(conn):
    await define(conn, A)
    await call(conn, "add_step", "etl", "b", ["a"])

    assert await define(conn, A, B) == (1, False)
    assert (await refusal(conn, "define_flow", *arguments(A)))[1] == "FLOW_EXISTS"


async def test_a_bad_step_leaves_nothing_behind(conn):
    state, reason, message = await refusal(conn, "define_flow", *arguments(A, {"slug": "b", "depends_on": ["x"]}))

    assert (state, reason) == ("PF400", "UNKNOWN_DEPENDENCY")
    assert '"x"' in message
    assert await values(conn, "select count(*) from pgflow.workflows") == [0]
    assert await values(conn, "select queue_name from pgflow.queues") == ["plans"]


async def test_the_same_step_twice_is_refused(conn):
    _, reason, message = await refusal(conn, "define_flow", *arguments(A, {"slug": "a", "handler": "h"}))

    assert reason == "DUPLICATE_STEP"
    assert message == 'steps: "a" is the slug of two steps; choose another for one of them'


@pytest.mark.parametrize("params", ['"\\u0000"', "1e999999"])
async def test_params_that_cannot_be_compared_are_refused(conn, params):
    given = ("etl", None, None, None, None, None, f'[{{"slug": "a", "params": {{"x": {params}}}}}]', False)

    assert (await refusal(conn, "define_flow", *given))[:2] == ("PF400", "INVALID_JSON")


async def test_of_fifty_at_once_with_one_shape_one_wins_and_none_fails(database, conn):
    rows = await at_once(database, [("define_flow", arguments(A, B, C))] * 50)

    assert len({row["version_id"] for row in rows}) == 1
    assert sum(row["created"] for row in rows) == 1
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [3]


async def test_of_fifty_new_versions_at_once_with_one_shape_one_wins(database, conn):
    await define(conn, A)

    rows = await at_once(database, [("define_flow", arguments(A, B, new=True))] * 50)

    assert {row["version"] for row in rows} == {2}
    assert sum(row["created"] for row in rows) == 1


async def test_fifty_new_versions_at_once_with_fifty_shapes_are_numbered_densely(database, conn):
    await define(conn, A)

    rows = await at_once(database, [("define_flow", arguments({"slug": f"s{i}"}, new=True)) for i in range(50)])

    assert sorted(row["version"] for row in rows) == list(range(2, 52))


async def test_flows_that_share_queues_in_opposite_orders_do_not_deadlock(database):
    queues = [f"q{i}" for i in range(6)]

    def steps(names: list[str]) -> list[dict[str, Any]]:
        return [{"slug": f"s{i}", "queue": name} for i, name in enumerate(names)]

    await at_once(
        database,
        [("define_flow", arguments(*steps(queues[:: 1 if i % 2 else -1]), slug=f"flow_{i}")) for i in range(20)],
    )


@pytest.mark.timeout(60)  # it takes a second
async def test_two_thousand_steps_and_a_join_of_them_all_are_defined(conn):
    wide = [{"slug": f"s{i}"} for i in range(1999)]
    wide.append({"slug": "join", "depends_on": [step["slug"] for step in wide]})

    assert await define(conn, *wide) == (1, True)
    assert await define(conn, *wide) == (1, False)
