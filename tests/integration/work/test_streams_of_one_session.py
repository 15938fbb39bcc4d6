"""Several streams of one session, Goodbyes that meet trouble, and streams that come while the coordinator leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import psycopg
import structlog

from stepgres.v1 import worker_pb2
from stepgres_service.server import Coordinator
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, eventually, get_task, run_status, start_run, start_runs
from tests.support.pg_proxy import pg_proxy
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.rpc import reason_of

HANDLERS = ["one.work"]
Conn = psycopg.AsyncConnection[tuple[Any, ...]]


def waiting_for_a_lock(conn: Conn, count: int) -> Callable[[], Coroutine[Any, Any, bool]]:
    """Whether so many statements of others wait for a lock."""

    async def check() -> bool:
        row = await (
            await conn.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
        ).fetchone()
        return row is not None and row[0] >= count

    return check


async def test_of_many_resumes_at_the_same_time_one_wins_and_the_others_are_told(
    coordinator: Coordinator, channel: grpc.aio.Channel, database: str, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS, reconnect_grace_ms=5000)
    first.grant(1)
    (task,) = await first.take_tasks(1)
    # The first resume learns the definition anew, which takes a while; the second knows what the first had learned.
    coordinator.engine.definitions._flows.clear()
    async with await psycopg.AsyncConnection.connect(database) as locker:
        await locker.execute("lock table pgflow.workflow_steps")
        slow = RawWorker(channel, first.instance_id)
        slow_open = asyncio.create_task(slow.open(HANDLERS, session_id=welcome.session_id, held=[task.token]))
        await eventually(waiting_for_a_lock(conn, 1))
        fast = RawWorker(channel, first.instance_id)
        await fast.open(HANDLERS, session_id=welcome.session_id)  # it holds nothing: nothing has to be learned
        await locker.rollback()
    await asyncio.gather(slow_open, return_exceptions=True)
    assert reason_of(await slow.ended()) == "SESSION_TAKEN"
    assert reason_of(await first.ended()) == "SESSION_TAKEN"

    fast.grant(1)
    (again,) = await fast.take_tasks(1)
    fast.complete(again)
    await fast.take_acks(1)
    assert await run_status(channel, run_id) == "COMPLETED"
    assert len(coordinator.engine.registry.sessions) == 1
    for worker in (first, slow, fast):
        await worker.close()


async def test_the_stream_before_is_told_that_its_session_was_taken_and_gets_nothing_more(
    channel: grpc.aio.Channel,
) -> None:
    await define(channel, "one", work=[])
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS)
    first.grant(5)
    second = RawWorker(channel, first.instance_id)
    assert (await second.open(HANDLERS, session_id=welcome.session_id)).resumed
    assert reason_of(await first.ended()) == "SESSION_TAKEN"
    second.grant(5)
    await start_runs(channel, "one", 5)
    second.complete(*await second.take_tasks(5))
    await second.take_acks(5)
    assert first.tasks == []
    await first.close()
    await second.close()


async def test_a_stream_that_was_resumed_elsewhere_is_told(
    start_coordinator: Callable[..., Any],
) -> None:
    async with (
        start_coordinator(lease_s=3, heartbeat_s=0.2) as here,
        start_coordinator() as there,
        channel_to(here) as old,
        channel_to(there) as new,
    ):
        first, second = RawWorker(old), None
        welcome = await first.open(HANDLERS)
        second = RawWorker(new, first.instance_id)
        assert (await second.open(HANDLERS, session_id=welcome.session_id)).resumed
        assert reason_of(await first.ended()) == "SESSION_EXPIRED"
        assert here.engine.registry.sessions == {}
        await first.close()
        await second.close()


async def test_a_goodbye_counts_no_loss_though_the_stream_breaks_behind_it(
    channel: grpc.aio.Channel, database: str, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    leaving = RawWorker(channel)
    await leaving.open(HANDLERS)
    leaving.grant(1)
    await leaving.take_tasks(1)
    async with await psycopg.AsyncConnection.connect(database) as locker:
        await locker.execute("select from pgflow.runs for update")
        left = asyncio.create_task(leaving.goodbye())
        await eventually(waiting_for_a_lock(conn, 1))
        with structlog.testing.capture_logs() as lines:

            async def heard_of_the_break() -> bool:
                return any(line.get("code") == "CANCELLED" for line in lines)

            leaving.cut()
            await eventually(heard_of_the_break)
        await asyncio.gather(left, return_exceptions=True)
        async with raw_worker(channel, HANDLERS, credits=1) as staying:
            await locker.rollback()
            await staying.take_tasks(1)
            assert (await get_task(channel, run_id, "work")).lost_leases == 0


async def test_a_goodbye_counts_no_loss_though_the_database_is_away(
    channel: grpc.aio.Channel, database: str, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with (
        pg_proxy(database) as wire,
        running_coordinator(wire.dsn, heartbeat_s=0.2) as cut_off,
        channel_to(cut_off) as its_own,
    ):
        leaving = RawWorker(its_own)
        await leaving.open(HANDLERS)
        leaving.grant(1)
        await leaving.take_tasks(1)
        wire.accepts = False
        wire.cut()
        await leaving.goodbye()
        wire.accepts = True
        async with raw_worker(channel, HANDLERS, credits=1) as staying:
            await staying.take_tasks(1)
        assert (await get_task(channel, run_id, "work")).lost_leases == 0


async def test_no_more_streams_than_allowed_though_they_come_at_once(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator(max_streams=5) as coordinator, channel_to(coordinator) as channel:
        workers = [RawWorker(channel) for _ in range(20)]
        await asyncio.gather(*(worker.open(HANDLERS) for worker in workers), return_exceptions=True)
        welcomed = [worker for worker in workers if worker.welcome is not None]
        assert len(welcomed) == 5
        refused = [worker for worker in workers if worker.welcome is None]
        assert {reason_of(worker.error) for worker in refused} == {"TOO_MANY_STREAMS"}
        # One stream in the place of another is not one more; nor is one after another.
        taken = RawWorker(channel, welcomed[0].instance_id)
        assert welcomed[0].welcome is not None
        assert (await taken.open(HANDLERS, session_id=welcomed[0].welcome.session_id)).resumed
        await welcomed[1].goodbye()
        late = RawWorker(channel)
        await late.open(HANDLERS)
        for worker in [*workers, taken, late]:
            await worker.close()


async def test_a_worker_that_vanished_leaves_its_place_to_another(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator(max_streams=1) as coordinator, channel_to(coordinator) as channel:
        vanished = RawWorker(channel)
        await vanished.open(HANDLERS, reconnect_grace_ms=15_000)
        (session,) = coordinator.engine.registry.sessions.values()
        await vanished.close()

        async def noticed() -> bool:
            return not session.connected

        await eventually(noticed)
        async with raw_worker(channel, HANDLERS):
            pass


async def test_who_says_hello_while_the_drain_begins_is_sent_elsewhere(
    channel: grpc.aio.Channel, database: str, conn: Conn, start_coordinator: Callable[..., Any]
) -> None:
    await define(channel, "one", work=[])
    async with start_coordinator(drain_s=9) as leaving, channel_to(leaving) as old:
        async with await psycopg.AsyncConnection.connect(database) as locker:
            await locker.execute("lock table pgflow.sessions")
            late = RawWorker(old)
            opening = asyncio.create_task(late.open(HANDLERS))
            await eventually(waiting_for_a_lock(conn, 1))
            draining = asyncio.create_task(leaving.engine.drain(9))
            await asyncio.wait({draining})  # nobody is connected
            await locker.rollback()
        await asyncio.gather(opening, return_exceptions=True)
        assert reason_of(await late.ended()) == "DRAINING"
        assert leaving.engine.registry.sessions == {}

        async def closed() -> bool:
            row = await (await conn.execute("select count(*) from pgflow.sessions where closed_at is null")).fetchone()
            return row == (0,)

        await eventually(closed)
        await late.close()


async def test_a_resume_learns_nothing_that_is_known(
    coordinator: Coordinator, channel: grpc.aio.Channel, database: str, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    await start_runs(channel, "one", 50)
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS)
    first.grant(50)
    tasks = await first.take_tasks(50)
    async with await psycopg.AsyncConnection.connect(database) as locker:
        # Who would ask the database for the definition once for each of the tasks would wait here.
        await locker.execute("lock table pgflow.workflow_steps")
        second = RawWorker(channel, first.instance_id)
        held = [task.token for task in tasks]
        assert (await second.open(HANDLERS, session_id=welcome.session_id, held=held)).resumed
        assert second.lost == []
        await locker.rollback()
    second.complete(*tasks)
    assert {ack.verdict for ack in await second.take_acks(50)} == {worker_pb2.ACK_VERDICT_RECORDED}
    await first.close()
    await second.close()
