"""pgflow.delete_flow and pgflow.prune_deleted_runs: what goes at once, what goes later, and what others keep."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tests.support.sql import call, call_one, refusal, someone_waits, values
from tests.support.transitions import Transitions

DEFINITIONS = ("workflows", "workflow_versions", "workflow_steps", "workflow_step_dependencies_def")
RUN_TIME = ("runs", "step_states", "step_tasks", "task_errors", "task_progress", "map_expansions")


@pytest.fixture
def engine(conn: Any) -> Transitions:
    return Transitions(conn)


async def counts(conn: Any, tables: tuple[str, ...]) -> dict[str, int]:
    return {table: (await values(conn, f"select count(*) from pgflow.{table}"))[0] for table in tables}


async def queues(conn: Any) -> set[str]:
    plans = "select 'pgflow_' || queue_id from pgflow.queues where queue_name = 'plans'"
    return {*await values(conn, "select queue_name from pgmq.list_queues()")} - {*await values(conn, plans)}


async def test_the_definition_goes_with_all_versions_and_its_own_queue(conn, engine):
    await engine.define("etl", a=[], b=["a"])
    steps = json.dumps([{"slug": "z"}])
    await call(conn, "define_flow", "etl", None, None, None, None, None, steps, p_new_version=True)

    assert await call_one(conn, "delete_flow", "etl") == 0

    assert set((await counts(conn, (*DEFINITIONS, "routes"))).values()) == {0}
    assert await queues(conn) == set()


async def test_an_own_queue_beside_a_shared_one_goes_and_the_shared_one_stays(conn, engine):
    await call(conn, "create_flow", "etl")
    await call(conn, "add_step", "etl", "a", p_queue="heavy")
    await call(conn, "add_step", "etl", "b")
    await call(conn, "create_flow", "other", p_queue="heavy")

    await call(conn, "delete_flow", "etl")

    assert await values(conn, "select queue_name from pgflow.queues order by queue_id") == ["plans", "heavy"]
    assert len(await queues(conn)) == 1


async def test_in_a_shared_queue_the_messages_and_routes_of_others_stay(conn, engine):
    for slug in ("one", "two"):
        await call(conn, "create_flow", slug, p_queue="plans")
        await call(conn, "add_step", slug, "own")
        await call(conn, "add_step", slug, "common", p_handler="fetch_url")
    await engine.start("one")
    run_id = await engine.start("two")

    assert await call_one(conn, "delete_flow", "one", True) == 1

    assert {message[2] for message in await engine.messages()} == {run_id}
    assert {*await values(conn, "select handler from pgflow.routes")} == {"two.own", "fetch_url"}
    leased = await engine.lease(await engine.open_session())
    assert len(leased) == 2
    await engine.complete(*leased)
    assert (await engine.run(run_id)).status == "completed"
    await engine.assert_invariants()


async def test_a_route_with_the_flows_name_stays_while_another_flow_uses_it(conn, engine):
    await call(conn, "create_flow", "one", p_queue="plans")
    await call(conn, "add_step", "one", "a")
    await call(conn, "create_flow", "two", p_queue="plans")
    await call(conn, "add_step", "two", "a", p_handler="one.a")
    run_id = await engine.start("two")

    await call(conn, "delete_flow", "one")

    assert [lease.run_id for lease in await engine.lease(await engine.open_session())] == [run_id]


@pytest.mark.parametrize("slug", ["nobody", "ETL", "", None])
async def test_an_unknown_flow_is_refused(conn, engine, slug):
    await engine.define("etl", a=[])

    state, reason, message = await refusal(conn, "delete_flow", slug)

    assert (state, reason) == ("PF404", "FLOW_NOT_FOUND")
    assert message.startswith("flow: ")
    assert await values(conn, "select count(*) from pgflow.workflows") == [1]


async def test_active_runs_keep_their_flow(conn, engine):
    await engine.define("etl", a=[])
    await engine.start("etl")

    state, reason, message = await refusal(conn, "delete_flow", "etl")
    assert (state, reason) == ("PF412", "FLOW_HAS_ACTIVE_RUNS")
    assert message == 'flow: "etl" has 1 active run; wait, or delete with force, which cancels active runs'

    await engine.start("etl")
    _, _, message = await refusal(conn, "delete_flow", "etl", p_force=False)
    assert '"etl" has 2 active runs; ' in message
    assert len(await engine.messages()) == 2


async def test_runs_that_have_ended_do_not_keep_their_flow(conn, engine):
    await engine.define("etl", a=[])
    run_id = await engine.start("etl")
    await engine.complete(*await engine.lease(await engine.open_session()))
    assert (await engine.run(run_id)).status == "completed"

    assert await call_one(conn, "delete_flow", "etl") == 0


async def test_force_cancels_active_runs_and_counts_only_them(conn, engine):
    await engine.define("etl", a=[], b=["a"])
    await engine.define("other", a=[])
    ended = await engine.start("etl")
    await call(conn, "cancel_runs", [ended])
    steps = json.dumps([{"slug": "z"}])
    active = [await engine.start("etl"), await engine.start("etl")]
    await call(conn, "define_flow", "etl", None, None, None, None, None, steps, p_new_version=True)
    active.append(await engine.start("etl"))
    stranger = await engine.start("other")
    session = await engine.open_session()
    leases = [lease for lease in await engine.lease(session) if lease.run_id in active]

    assert await call_one(conn, "delete_flow", "etl", p_force=True) == 3

    for run_id in active:
        run = await engine.run(run_id)
        assert (run.status, run.error_message) == ("cancelled", "the flow was deleted")
    assert (await engine.run(stranger)).status == "started"
    # What workers still hold is told to be over.
    assert await engine.complete(*leases) == [3] * len(leases)
    assert await values(conn, "select count(*) from pgflow.step_tasks where status = 'queued'") == [0]


async def test_the_slug_is_free_at_once_and_the_old_runs_do_not_belong_to_the_new_flow(conn, engine):
    await engine.define("etl", a=[])
    old = await call_one(conn, "start_run", "etl", "{}", 0, "key")
    await call(conn, "delete_flow", "etl", True)

    await engine.define("etl", other=[])
    new = await call_one(conn, "start_run", "etl", '{"x": 1}', 0, "key")

    assert new["run_id"] != old["run_id"]
    assert await call_one(conn, "prune_deleted_runs") == 1
    assert await values(conn, "select run_id from pgflow.runs") == [new["run_id"]]
    await engine.assert_invariants()


async def test_the_rows_go_later_in_bounded_batches_and_from_every_table(conn, engine):
    await engine.define("etl", maps=["m"], max_attempts=2, a=[], m=["a"])
    await engine.define("other", a=[])
    stranger = await engine.start("other")
    for _ in range(5):
        await engine.start("etl")
    session = await engine.open_session()
    leases = await engine.lease(session)
    await engine.record(*((lease, 2 if i % 2 else 1, "[1, 2]") for i, lease in enumerate(leases)))
    await conn.execute(
        "insert into pgflow.task_progress select run_id, step_index, task_index, 0.5, '', now() from pgflow.step_tasks"
    )
    await conn.execute("insert into pgflow.map_expansions select run_id, 1, now() from pgflow.runs")
    before = await counts(conn, RUN_TIME)
    assert all(before.values())
    await call(conn, "delete_flow", "etl", True)
    assert (await counts(conn, RUN_TIME))["runs"] == 6

    assert [await call_one(conn, "prune_deleted_runs", 2) for _ in range(4)] == [2, 2, 1, 0]

    assert await values(conn, "select run_id from pgflow.runs") == [stranger]
    for table in RUN_TIME:
        left = await values(conn, f"select distinct run_id from pgflow.{table}")
        assert set(left) <= {stranger}


async def test_pruning_finds_every_deleted_flow_between_living_ones(conn, engine):
    for i in range(6):
        await engine.define(f"flow_{i}", a=[])
        await engine.start(f"flow_{i}")
    for i in (0, 2, 3, 5):
        await call(conn, "delete_flow", f"flow_{i}", True)

    assert await call_one(conn, "prune_deleted_runs") == 4
    assert await call_one(conn, "prune_deleted_runs") == 0
    assert await values(conn, "select count(*) from pgflow.runs") == [2]


async def test_two_prune_at_once_without_waiting(database, conn, engine):
    await engine.define("etl", a=[])
    for _ in range(4):
        await engine.start("etl")
    await call(conn, "delete_flow", "etl", True)

    async with await psycopg.AsyncConnection.connect(database) as first:
        assert await call_one(first, "prune_deleted_runs", 3) == 3
        await conn.execute("set lock_timeout = '2s'")
        assert await call_one(conn, "prune_deleted_runs", 3) == 1
        await first.commit()

    assert await values(conn, "select count(*) from pgflow.runs") == [0]


async def test_a_start_that_waits_for_a_deletion_finds_no_flow(database, conn, engine):
    await engine.define("etl", a=[])
    async with await psycopg.AsyncConnection.connect(database) as deleter:
        await call(deleter, "delete_flow", "etl")
        start = asyncio.create_task(refusal(conn, "start_run", "etl"))
        await someone_waits(deleter)
        await deleter.commit()

        assert (await start)[0] == "PF404"

    assert await values(conn, "select count(*) from pgflow.runs") == [0]


async def test_a_deletion_that_waits_for_a_start_finds_its_run(database, conn, engine):
    await engine.define("etl", a=[])
    async with await psycopg.AsyncConnection.connect(database) as starter:
        await call(starter, "start_run", "etl")
        deletion = asyncio.create_task(refusal(conn, "delete_flow", "etl"))
        await someone_waits(starter)
        await starter.commit()

        assert (await deletion)[1] == "FLOW_HAS_ACTIVE_RUNS"


async def test_an_addition_that_waits_for_a_deletion_finds_no_flow(database, conn, engine):
    await engine.define("etl", a=[])
    async with await psycopg.AsyncConnection.connect(database) as deleter:
        await call(deleter, "delete_flow", "etl")
        addition = asyncio.create_task(refusal(conn, "add_step", "etl", "b"))
        await someone_waits(deleter)
        await deleter.commit()

        assert (await addition)[:2] == ("PF404", "FLOW_NOT_FOUND")


async def test_work_goes_on_around_deletions_without_a_deadlock(database, conn, engine):
    """Definers, starters and workers on connections of their own; a lease may find its queue gone, and asks again."""
    done = asyncio.Event()

    async def starter(own: Any, number: int) -> None:
        for _ in range(15):
            slug = f"flow_{number}"
            await own.define(slug, maps=["m"], a=[], m=["a"], end=["m"])
            for _ in range(5):
                await own.start(slug)
            await call(own.conn, "delete_flow", slug, True)

    async def worker(own: Any) -> None:
        session = await own.open_session()
        while not done.is_set():
            try:
                leased = await own.lease(session, 4)
            except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable):
                continue
            await own.record(*((lease, 1, "[1, 2]") for lease in leased))
            await own.rows("select pgflow.promote_tasks()")
            await own.rows("select pgflow.prune_deleted_runs()")

    conns = [await psycopg.AsyncConnection.connect(database, autocommit=True) for _ in range(6)]
    try:
        starters, workers = map(Transitions, conns[:3]), map(Transitions, conns[3:])
        tasks = [asyncio.create_task(worker(own)) for own in workers]
        try:
            await asyncio.gather(*(starter(own, number) for number, own in enumerate(starters)))
        finally:
            done.set()
            await asyncio.gather(*tasks)
    finally:
        for own in conns:
            await own.close()

    while await call_one(conn, "prune_deleted_runs", 10_000):
        pass
    assert set((await counts(conn, (*DEFINITIONS, *RUN_TIME, "routes", "deleted_workflows"))).values()) == {0}


@pytest.mark.slow
async def test_a_queue_that_a_backup_reads_keeps_its_flow_and_others_wait_no_longer(conn, engine, database):
    """The leases of every flow stand behind a drop that waits."""
    await engine.define("etl", a=[])
    run_id = await engine.start("etl")
    (queue,) = await queues(conn)
    async with await psycopg.AsyncConnection.connect(database) as backup:
        await backup.execute(f"lock table pgmq.q_{queue} in access share mode")
        await conn.execute("set statement_timeout = '20s'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await call(conn, "delete_flow", "etl", True)
        assert (await engine.run(run_id)).status == "started"
    assert await call_one(conn, "delete_flow", "etl", True) == 1
