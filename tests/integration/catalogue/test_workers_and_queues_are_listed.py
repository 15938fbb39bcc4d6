"""ListWorkers and ListQueues: who is there, what waits, and what nobody serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import psycopg
import pytest

from stepgres.v1 import run_pb2, run_pb2_grpc
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, InvalidArgument, QueueInfo, RunSpec, Step, UnservedRoute
from tests.integration.conftest import channel_to
from tests.support.flows import eventually
from tests.support.raw_worker import raw_worker

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def queue(client: AsyncClient, name: str) -> QueueInfo:
    """One queue of the list."""
    (found,) = [queue for queue in await client.list_queues() if queue.queue == name]
    return found


@pytest.fixture
async def quick(start_coordinator: Callable[..., Any]) -> AsyncIterator[Coordinator]:
    """A coordinator that renews leases all the time."""
    async with start_coordinator(heartbeat_s=0.2) as running:
        yield running


async def test_a_worker_is_listed_with_what_it_asks_for_and_has(quick: Coordinator) -> None:
    async with channel_to(quick) as channel, AsyncClient(f"127.0.0.1:{quick.port}") as client:
        await client.create_flow("f", [Step("m", step_type="map", handler="h")])
        async with raw_worker(
            channel, ["h", "g"], worker="me", credits=7, sdk_language="test", sdk_version="1.2"
        ) as worker:
            await client.start_run("f", [1, 2, 3])
            await worker.take_tasks(3)

            async def renewed() -> bool:
                (me,) = await client.list_workers()
                return (me.credits, me.in_flight) == (4, 3)

            await eventually(renewed)
            (me,) = await client.list_workers()
            assert (me.worker, me.sdk, me.coordinator) == ("me", "test/1.2", str(quick.coordinator_id))
            assert (me.scopes, me.handlers, me.handler_count) == (("",), ("g", "h"), 2)
            assert me.connect_time is not None
            assert me.last_seen_time is not None
            assert me.lease_time is not None
            assert me.connect_time <= me.last_seen_time < me.lease_time
            assert 0 <= me.lag_ms < 15_000
            # Who knows the session's id can forge a result.
            response = await run_pb2_grpc.RunServiceStub(channel).ListWorkers(run_pb2.ListWorkersRequest())
            wire = response.SerializeToString()
            assert worker.welcome is not None
            session_id = worker.welcome.session_id
            assert not any(secret in wire for secret in (session_id, session_id.hex().encode(), worker.instance_id))
            await worker.goodbye()

        async def gone() -> bool:
            return len(await client.list_workers()) == 0

        await eventually(gone)


async def test_lag_counts_from_the_last_frame(quick: Coordinator, conn: Connection) -> None:
    async with (
        channel_to(quick) as channel,
        AsyncClient(f"127.0.0.1:{quick.port}") as client,
        raw_worker(channel, ["h"]),
    ):
        (before,) = await client.list_workers()

        async def later() -> bool:
            (now,) = await client.list_workers()
            assert now.last_seen_time is not None
            assert before.last_seen_time is not None
            assert before.lease_time is not None
            assert now.lease_time is not None
            # The lease is renewed, but no frame came: the last one is the Hello's.
            moved = (now.last_seen_time - before.last_seen_time).total_seconds()
            assert moved < now.lag_ms / 1000
            return now.lease_time > before.lease_time and now.lag_ms >= 1500

        await eventually(later)


async def test_workers_of_one_name_are_paged_without_loss(channel: grpc.aio.Channel, client: AsyncClient) -> None:
    names = ["b", "a", "b", "b", "c"]
    workers = [raw_worker(channel, [f"h{number}"], worker=name) for number, name in enumerate(names)]
    for worker in workers:
        await worker.__aenter__()
    try:
        found: list[tuple[str, str]] = []
        token = ""
        while True:
            page = await client.list_workers(page_size=2, page_token=token)
            found += [(worker.worker, worker.handlers[0]) for worker in page]
            if not (token := page.next_page_token):
                break
        assert [name for name, _ in found] == sorted(names)
        assert {handler for _, handler in found} == {f"h{number}" for number in range(5)}
        with pytest.raises(InvalidArgument):
            await client.list_workers(page_token="AAAA")
    finally:
        for worker in workers:
            await worker.__aexit__(None, None, None)


async def test_what_nobody_serves_is_named_until_somebody_does(channel: grpc.aio.Channel, client: AsyncClient) -> None:
    await client.create_flow("f", [Step("a"), Step("b", handler="lost")])
    await client.create_flow("g", [Step("a", handler="lost", queue="common")], queue="common")
    for flow in ("f", "f", "g"):
        await client.start_run(flow)
    await client.start_run("f", scope="blue")
    assert await queue(client, "f") == QueueInfo(
        queue="f",
        shared=False,
        depth=6,
        depth_is_estimate=False,
        oldest_age_s=(await queue(client, "f")).oldest_age_s,
        unserved_route_count=4,
        unserved_routes=(
            UnservedRoute("", "f.a", 2),
            UnservedRoute("", "lost", 2),
            UnservedRoute("blue", "f.a", 1),
            UnservedRoute("blue", "lost", 1),
        ),
        unserved_steps=("f.a", "f.b"),
    )
    common = await queue(client, "common")
    assert (common.shared, common.depth, common.unserved_steps) == (True, 1, ("g.a",))

    async with raw_worker(channel, ["lost"]):

        async def partly() -> bool:
            found = await queue(client, "f")
            named = {(route.scope, route.handler) for route in found.unserved_routes}
            # No credits: what it serves still waits, but not in vain.
            return named == {("", "f.a"), ("blue", "f.a"), ("blue", "lost")} and found.depth == 6

        await eventually(partly)
        assert (await queue(client, "common")).unserved_route_count == 0

    async def again() -> bool:
        return (await queue(client, "common")).unserved_steps == ("g.a",)

    await eventually(again)


async def test_an_empty_queue_is_listed_and_goes_with_its_flow(client: AsyncClient) -> None:
    await client.create_flow("f", [Step("a")])
    empty = await queue(client, "f")
    assert (empty.depth, empty.oldest_age_s, empty.unserved_route_count) == (0, 0, 0)
    await client.delete_flow("f")

    async def gone() -> bool:
        return len(await client.list_queues()) == 0

    await eventually(gone)


async def test_queues_are_paged_by_name(client: AsyncClient) -> None:
    for name in ("b", "a", "C"):
        await client.create_flow(name, [Step("s")])
    # A shared queue may bear the name of a flow that has its own.
    await client.create_flow("other", [Step("s")], queue="a")
    found: list[tuple[str, bool]] = []
    token = ""
    while True:
        page = await client.list_queues(page_size=1, page_token=token)
        found += [(queue.queue, queue.shared) for queue in page]
        if not (token := page.next_page_token):
            break
    assert found == [("C", False), ("a", False), ("a", True), ("b", False)]


async def test_the_oldest_task_tells_the_age(conn: Connection, client: AsyncClient) -> None:
    await client.create_flow("f", [Step("a")])
    await client.start_runs(RunSpec("f") for _ in range(3))
    (queue_id,) = await (await conn.execute("select max(queue_id) from pgflow.queues")).fetchone() or (0,)
    await conn.execute(
        f"update pgmq.q_pgflow_{queue_id} set enqueued_at = enqueued_at - interval '1 hour'"  # type: ignore[arg-type]
        f" where msg_id = (select min(msg_id) from pgmq.q_pgflow_{queue_id})"
    )
    assert 3600 <= (await queue(client, "f")).oldest_age_s < 7200


async def test_a_deep_queue_is_estimated_and_many_routes_are_cut(conn: Connection, client: AsyncClient) -> None:
    await client.create_flow("f", [Step(f"s{number:02}") for number in range(30)])
    await client.start_runs(RunSpec("f") for _ in range(5))
    (queue_id,) = await (await conn.execute("select max(queue_id) from pgflow.queues")).fetchone() or (0,)

    async def read(count: int, routes: int) -> tuple[Any, ...]:
        cursor = await conn.execute(
            "select depth, is_estimate, unserved_count, json_array_length(unserved), unserved_steps"
            " from pgflow.read_queue(%s, %s, %s)",
            (queue_id, count, routes),
        )
        row = await cursor.fetchone()
        assert row is not None
        return row

    exact = await read(150, 1000)
    assert exact[:4] == (150, False, 30, 20)
    assert exact[4] == [f"f.s{number:02}" for number in range(20)]
    assert (await read(149, 7))[1:4] == (True, 7, 7)
    # The database's statistics may be late, but what was counted is there, and no more than was ever sent.
    assert 100 <= (await read(99, 7))[0] <= 150
    await conn.execute(f"vacuum analyze pgmq.q_pgflow_{queue_id}")  # type: ignore[arg-type]
    assert (await read(99, 7))[:2] == (150, True)
