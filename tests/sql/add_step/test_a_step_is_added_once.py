"""pgflow.add_step: the row it returns, what the same call again does, and who wins a race."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.support.sql import at_once, call, call_one, refusal, values


@pytest.fixture(autouse=True)
async def etl(conn):
    return await call_one(conn, "create_flow", "etl")


async def test_a_step_gets_the_defaults_and_the_handler_of_its_name(conn):
    step = await call_one(conn, "add_step", "etl", "fetch")

    assert {name: step[name] for name in ("workflow_slug", "version", "step_slug", "step_index", "step_type")} == {
        "workflow_slug": "etl",
        "version": 1,
        "step_slug": "fetch",
        "step_index": 0,
        "step_type": "single",
    }
    assert (step["handler"], step["params"], step["deps_count"]) == ("etl.fetch", {}, 0)
    for name in ("initial_tasks", "max_attempts", "timeout", "base_delay_s", "max_delay_s", "queue"):
        assert step[name] is None
    assert await values(conn, "select queue_id from pgflow.workflow_versions") == [step["queue_id"]]


async def test_every_option_can_be_named(conn):
    await call(conn, "add_step", "etl", "list")

    step = await call_one(
        conn,
        "add_step",
        p_workflow_slug="etl",
        p_step_slug="fetch",
        p_depends_on=["list"],
        p_step_type="map",
        p_initial_tasks=0,
        p_max_attempts=1,
        p_timeout=60,
        p_handler="http.fetch-url",
        p_params='{"n": 1.50, "n2": 1e400}',
        p_base_delay_s=0,
        p_max_delay_s=9,
        p_queue="heavy",
    )

    assert (step["step_type"], step["initial_tasks"], step["deps_count"]) == ("map", 0, 1)
    assert (step["max_attempts"], step["timeout"], step["base_delay_s"], step["max_delay_s"]) == (1, 60, 0, 9)
    assert (step["handler"], step["queue"]) == ("http.fetch-url", "heavy")
    assert await values(conn, "select queue_name from pgflow.queues where queue_id = %s", step["queue_id"]) == ["heavy"]
    assert await values(conn, "select params::text from pgflow.workflow_steps where step_slug = 'fetch'") == [
        '{"n": 1.50, "n2": 1e400}'
    ]


async def test_null_means_the_default(conn):
    step = await call_one(conn, "add_step", "etl", "fetch", None, None, None, None, None, None, None, None, None, None)

    assert (step["step_type"], step["handler"], step["params"]) == ("single", "etl.fetch", {})


async def test_indexes_are_dense_from_zero_and_a_dependency_has_the_smaller_one(conn):
    for slug, depends_on in [("a", []), ("b", ["a"]), ("c", []), ("d", ["c", "b", "a"])]:
        await call(conn, "add_step", "etl", slug, depends_on)

    assert await values(conn, "select step_slug from pgflow.workflow_steps order by step_index") == ["a", "b", "c", "d"]
    assert await values(conn, "select step_index from pgflow.workflow_steps order by 1") == [0, 1, 2, 3]
    edges = await (
        await conn.execute(
            "select dep_slug, step_slug, dep_index, step_index from pgflow.workflow_step_dependencies_def order by 4, 3"
        )
    ).fetchall()
    assert edges == [("a", "b", 0, 1), ("a", "d", 0, 3), ("b", "d", 1, 3), ("c", "d", 2, 3)]


async def test_the_same_call_again_changes_nothing(conn):
    await call(conn, "add_step", "etl", "a")
    await call(conn, "add_step", "etl", "b")
    first = await call_one(conn, "add_step", "etl", "c", ["a", "b"], p_params='{"x": 1, "y": [1.0]}')

    # Neither the order of the dependencies nor the spelling of the params is part of the shape.
    again = await call_one(conn, "add_step", "etl", "c", ["b", "a"], p_params='{"y":[1],"x":1}', p_handler="etl.c")

    assert again == first
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [3]


async def test_another_shape_is_refused_with_each_difference(conn):
    await call(conn, "add_step", "etl", "a")
    await call(conn, "add_step", "etl", "b", ["a"], p_timeout=9)

    state, reason, message = await refusal(conn, "add_step", "etl", "b", p_handler="other.b", p_params='{"x": 1}')

    assert (state, reason) == ("PF409", "STEP_EXISTS")
    assert message == (
        'step.slug: step "b" of flow "etl" exists with another shape: depends_on is {a}, asked for: {}, '
        "timeout is 9, asked for: not set, handler is etl.b, asked for: other.b, "
        'params is {}, asked for: {"x": 1}; use the same shape, another slug, or a new version'
    )


async def test_long_values_are_cut_in_the_differences(conn):
    await call(conn, "add_step", "etl", "a", p_params='{"x": "' + "y" * 60_000 + '"}')

    _, _, message = await refusal(conn, "add_step", "etl", "a")

    assert "params is " in message
    assert "; use the same shape" in message
    assert len(message) < 1000


async def test_steps_that_differ_in_case_are_two(conn):
    for slug in ("Foo", "foo"):
        await call(conn, "add_step", "etl", slug)

    state, reason, _ = await refusal(conn, "add_step", "etl", "bar", ["FOO"])

    assert (state, reason) == ("PF400", "UNKNOWN_DEPENDENCY")
    assert await values(conn, "select handler from pgflow.workflow_steps order by step_index") == ["etl.Foo", "etl.foo"]


async def test_slugs_of_128_characters_fit_into_the_handler(conn):
    flow, step = "f" * 128, "s" * 128
    await call(conn, "create_flow", flow)

    assert (await call_one(conn, "add_step", flow, step))["handler"] == f"{flow}.{step}"


async def test_steps_of_a_shared_queue_are_in_it_and_the_others_in_the_flows(conn):
    for slug, queue in [("a", None), ("b", "heavy"), ("c", "heavy")]:
        await call(conn, "add_step", "etl", slug, p_queue=queue)

    a, b, c = await values(conn, "select queue_id from pgflow.workflow_steps order by step_index")
    assert a != b == c


async def test_fifty_at_once_of_one_step_make_it_once(database, conn):
    steps = await at_once(database, [("add_step", ("etl", "fetch"))] * 50)

    assert all(step == steps[0] for step in steps)
    assert await values(conn, "select count(*) from pgflow.workflow_steps") == [1]


async def test_fifty_at_once_of_fifty_steps_get_dense_indexes(database, conn):
    steps = await at_once(
        database,
        [
            ("add_step", ("etl", f"s{i}", [], "single", None, None, None, None, None, None, None, "plans"))
            for i in range(50)
        ],
    )

    assert sorted(step["step_index"] for step in steps) == list(range(50))
    assert len({step["queue_id"] for step in steps}) == 1


async def test_a_start_of_a_run_does_not_wait_for_an_open_addition(database, conn):
    async with await psycopg.AsyncConnection.connect(database) as adder:
        await call(adder, "add_step", "etl", "fetch")

        # Also the other way round: what a start holds does not stop an addition.
        async with conn.transaction():
            await conn.execute("set local lock_timeout = '2s'")
            assert await call_one(conn, "start_run", "etl")

        await adder.commit()


async def test_an_addition_waits_for_another_and_sees_its_step(database, conn):
    async with await psycopg.AsyncConnection.connect(database) as first:
        await call(first, "add_step", "etl", "a")
        second = asyncio.create_task(call_one(conn, "add_step", "etl", "b", ["a"]))
        await first.commit()

        assert (await second)["step_index"] == 1
