"""pgflow.create_flow: the row it returns, what the same call again does, and who wins a race."""

from __future__ import annotations

import pytest

from tests.support.sql import at_once, call, call_one, refusal, values

#: pgmq's queues, but for the one of inline plans.
OWN_QUEUES = (
    "select l.queue_name from pgmq.list_queues() as l join pgflow.queues as q on l.queue_name = 'pgflow_' || q.queue_id"
    " where q.queue_name is distinct from 'plans'"
)


async def test_a_flow_gets_the_defaults_a_first_version_and_a_queue_of_its_own(conn):
    flow = await call_one(conn, "create_flow", "etl")

    assert {name: flow[name] for name in ("workflow_slug", "max_attempts", "timeout", "latest_version")} == {
        "workflow_slug": "etl",
        "max_attempts": 3,
        "timeout": 30,
        "latest_version": 1,
    }
    assert (flow["base_delay_s"], flow["max_delay_s"], flow["queue"]) == (None, None, None)
    assert flow["created_at"] is not None
    (queue_id,) = await values(conn, "select queue_id from pgflow.workflow_versions where workflow_slug = 'etl'")
    assert await values(conn, "select queue_name from pgflow.queues where queue_id = %s", queue_id) == [None]
    assert await values(conn, OWN_QUEUES) == [f"pgflow_{queue_id}"]


async def test_every_option_can_be_named(conn):
    flow = await call_one(
        conn,
        "create_flow",
        p_workflow_slug="etl",
        p_max_attempts=1,
        p_timeout=60,
        p_base_delay_s=0,
        p_max_delay_s=9,
        p_queue="plans",
    )

    assert (flow["max_attempts"], flow["timeout"], flow["base_delay_s"], flow["max_delay_s"]) == (1, 60, 0, 9)
    assert flow["queue"] == "plans"


async def test_the_function_has_one_signature(conn):
    counts = await (
        await conn.execute(
            "select proname, count(*) from pg_proc where pronamespace = 'pgflow'::regnamespace group by 1 having count(*) > 1"
        )
    ).fetchall()

    assert counts == []


async def test_null_means_the_default(conn):
    flow = await call_one(conn, "create_flow", "etl", None, None)

    assert (flow["max_attempts"], flow["timeout"]) == (3, 30)


async def test_the_same_call_again_changes_nothing(conn):
    first = await call_one(conn, "create_flow", "etl", 5, 60, 1, 10, "heavy")

    assert await call_one(conn, "create_flow", "etl", 5, 60, 1, 10, "heavy") == first
    assert await values(conn, "select count(*) from pgflow.workflow_versions") == [1]
    assert len(await values(conn, OWN_QUEUES)) == 1


async def test_the_same_call_again_uses_up_no_number(conn):
    first = await call_one(conn, "create_flow", "first")
    for _ in range(3):
        await call(conn, "create_flow", "first")

    assert (await call_one(conn, "create_flow", "second"))["workflow_id"] == first["workflow_id"] + 1


async def test_the_same_call_again_changes_nothing_once_there_are_steps(conn):
    first = await call_one(conn, "create_flow", "etl")
    await call(conn, "add_step", "etl", "fetch")

    assert await call_one(conn, "create_flow", "etl") == first


async def test_other_options_are_refused_with_each_difference(conn):
    await call(conn, "create_flow", "etl", 5, 60)

    state, reason, message = await refusal(conn, "create_flow", "etl", 6, 60, 1, None, "plans")

    assert (state, reason) == ("PF409", "FLOW_EXISTS")
    assert message == (
        'slug: flow "etl" exists with other options: max_attempts is 5, asked for: 6, base_delay_s is not set, asked for: 1, '
        "queue is not set, asked for: plans; use the same options, another slug, or a new version"
    )


async def test_foo_beside_foo_in_small_letters_are_two_flows_with_two_queues(conn):
    await call(conn, "create_flow", "foo", 1)
    await call(conn, "create_flow", "Foo", 2)

    assert await values(conn, "select max_attempts from pgflow.workflows order by workflow_slug") == [2, 1]
    assert await values(conn, "select count(distinct queue_id) from pgflow.workflow_versions") == [2]


async def test_slugs_of_128_characters_that_differ_in_the_last_are_two_flows(conn):
    for end in "ab":
        await call(conn, "create_flow", "x" * 127 + end)

    assert len(await values(conn, OWN_QUEUES)) == 2


@pytest.mark.parametrize("slug", [None, "", "run", "1a", "a-b", "a b", "a\n", "ä", "a" * 129, "x" * 100_000])
async def test_what_is_no_slug_is_refused_by_name(conn, slug):
    state, reason, message = await refusal(conn, "create_flow", slug)

    assert (state, reason) == ("PF400", "INVALID_SLUG")
    assert message.startswith("slug: ")
    assert "; use letters" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("option", "value", "path"),
    [
        ("p_max_attempts", 0, "max_attempts"),
        ("p_max_attempts", 1001, "max_attempts"),
        ("p_timeout", 0, "timeout_s"),
        ("p_timeout", 2_592_001, "timeout_s"),
        ("p_base_delay_s", -1, "base_delay_s"),
        ("p_base_delay_s", 86_401, "base_delay_s"),
        ("p_max_delay_s", -1, "max_delay_s"),
        ("p_max_delay_s", 604_801, "max_delay_s"),
    ],
)
async def test_options_out_of_range_are_refused(conn, option, value, path):
    state, reason, message = await refusal(conn, "create_flow", "etl", **{option: value})

    assert (state, reason) == ("PF400", "FIELD_OUT_OF_RANGE")
    assert message.startswith(f"{path}: {value} is out of range; use ")
    assert await values(conn, "select count(*) from pgflow.workflows") == [0]


@pytest.mark.parametrize("queue", ["", "no queue", "run"])
async def test_what_is_no_name_of_a_queue_is_refused(conn, queue):
    state, reason, message = await refusal(conn, "create_flow", "etl", p_queue=queue)

    assert (state, reason) == ("PF400", "INVALID_SLUG")
    assert message.startswith("queue: ")


async def test_of_fifty_creators_at_once_one_wins_and_none_fails(database, conn):
    flows = await at_once(database, [("create_flow", ("etl",))] * 50)

    assert all(flow == flows[0] for flow in flows)
    assert await values(conn, "select count(*) from pgflow.workflow_versions") == [1]
    assert len(await values(conn, OWN_QUEUES)) == 1


async def test_fifty_creators_of_flows_on_one_shared_queue_make_it_once(database, conn):
    await at_once(database, [("create_flow", (f"flow_{i}", 3, 30, None, None, "heavy")) for i in range(50)])

    assert await values(conn, "select queue_name from pgflow.queues order by queue_id") == ["plans", "heavy"]
    assert await values(conn, "select count(distinct queue_id) from pgflow.workflow_versions") == [1]


async def test_creators_and_deleters_of_one_flow_at_once_do_not_fail_but_for_its_absence(database, conn):
    for _ in range(5):
        await call(conn, "create_flow", "etl")
        flows = await at_once(database, [("delete_flow", ("etl",)), *[("create_flow", ("etl",))] * 10])
        assert flows[0] == 0
        await call(conn, "create_flow", "etl")


async def test_a_shared_queue_can_be_leased_by_route_and_is_vacuumed_eagerly(conn):
    queue_id = await call_one(conn, "ensure_queue", "plans")

    assert await call_one(conn, "ensure_queue", "plans") == queue_id
    definitions = await values(conn, "select indexdef from pg_indexes where tablename = %s", f"q_pgflow_{queue_id}")
    assert any("((message ->> 'k'::text))::integer), msg_id)" in definition for definition in definitions)
    assert len(definitions) == 2  # that one and the key: each more would be an entry for every task
    (options,) = await values(conn, "select reloptions from pg_class where relname = %s", f"q_pgflow_{queue_id}")
    assert {
        "autovacuum_vacuum_scale_factor=0",
        "autovacuum_vacuum_threshold=10000",
        "autovacuum_vacuum_cost_delay=0",
    } <= {*options}


async def test_a_queue_without_name_is_a_new_one_each_time(conn):
    assert await call_one(conn, "ensure_queue", None) != await call_one(conn, "ensure_queue", None)
