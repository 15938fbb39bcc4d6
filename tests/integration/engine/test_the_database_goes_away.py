"""Connections that break at every point of a batch: nothing is lost, nothing is recorded twice, nothing spins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from stepgres.v1 import worker_pb2
from stepgres_service.engine import run_starts
from stepgres_service.server import Coordinator
from stepgres_service.store import lane
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, eventually, get_task, run_status, start_run, start_runs
from tests.support.pg_proxy import PgProxy, pg_proxy
from tests.support.raw_worker import RawWorker, raw_worker

RECORDED = worker_pb2.ACK_VERDICT_RECORDED
DUPLICATE = worker_pb2.ACK_VERDICT_DUPLICATE
BUSY = worker_pb2.ACK_VERDICT_BUSY

Conn = psycopg.AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def behind_a_proxy(dsn: str, **settings: Any) -> AsyncIterator[tuple[PgProxy, Coordinator, grpc.aio.Channel]]:
    """A coordinator whose work goes through a proxy; its notifications come straight from the database."""
    async with (
        pg_proxy(dsn) as proxy,
        running_coordinator(proxy.dsn, listen_database_url=dsn, **settings) as coordinator,
        channel_to(coordinator) as channel,
    ):
        yield proxy, coordinator, channel


async def value(conn: Conn, query: str, *values: Any) -> Any:
    """The one value that a query answers."""
    row = await (await conn.execute(query.encode(), values)).fetchone()
    assert row is not None
    return row[0]


async def drop_connections(conn: Conn, database: str) -> None:
    """Ends every other backend of the test's database."""
    await conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
        (conninfo_to_dict(database)["dbname"],),
    )


async def test_a_commit_whose_answer_was_lost_is_a_duplicate_and_what_it_made_ready_goes_on(
    database: str, conn: Conn
) -> None:
    # No poll and no comparison comes to the rescue while the test waits, and there is one lane, connected and at rest.
    async with behind_a_proxy(database, poll_s=60, lease_s=90, heartbeat_s=30, lanes=1) as (proxy, _, channel):
        await define(channel, "two", first=[], second=["first"])
        async with raw_worker(channel, ["two.first", "two.second"], credits=10) as worker:
            await start_run(channel, "two")
            worker.complete(*await worker.take_tasks(1))
            await worker.take_acks(1)
            worker.complete(*await worker.take_tasks(1))
            await worker.take_acks(1)
            run_id = await start_run(channel, "two")
            (first,) = await worker.take_tasks(1)
            proxy.answers = False
            worker.complete(first, output=b'"once"')

            async def committed() -> bool:
                query = "select exists (select from pgflow.step_tasks where run_id = %s and status = 'completed')"
                return bool(await value(conn, query, run_id))

            await eventually(committed)
            proxy.answers = True
            proxy.cut()
            assert [ack.verdict for ack in await worker.take_acks(1)] == [DUPLICATE]
            (second,) = await worker.take_tasks(1)
            assert second.step == "second"
            worker.complete(second)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
            assert await run_status(channel, run_id) == "COMPLETED"


async def test_an_answer_that_never_comes_is_given_up(
    database: str, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that waits for a dead server keeps its own connections to us alive."""
    monkeypatch.setattr(lane, "_ANSWER_S", 1.0)
    monkeypatch.setattr(run_starts, "_ANSWER_S", 1.0)
    async with behind_a_proxy(database, lease_s=90, heartbeat_s=30, lanes=1) as (proxy, coordinator, channel):
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=6) as worker:
            for _ in range(4):  # what is prepared needs no more answers
                await start_run(channel, "one")
                worker.complete(*await worker.take_tasks(1))
                await worker.take_acks(1)
            await start_run(channel, "one")
            (task,) = await worker.take_tasks(1)

            async def at_rest() -> bool:
                return len(coordinator.engine.completions._idle) == 1

            await eventually(at_rest)
            proxy.answers = False
            worker.complete(task)
            starting = asyncio.create_task(start_run(channel, "one"))

            async def committed() -> bool:
                return bool(await value(conn, "select count(*) = 5 from pgflow.runs where status = 'completed'"))

            await eventually(committed)
            proxy.silence()
            proxy.answers = True
            assert [ack.verdict for ack in await worker.take_acks(1)] == [DUPLICATE]
            with suppress(grpc.aio.AioRpcError):  # it may have been started, it says
                await starting
            worker.grant(6)
            late = await start_run(channel, "one")
            tasks = [task]
            while tasks[-1].run_id != late:
                tasks += await worker.take_tasks(1)


async def test_anothers_backend_with_the_number_of_one_of_ours_from_before_is_heard(
    coordinator: Coordinator, channel: grpc.aio.Channel, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers begin anew when the database restarts; a connection at rest does not notice that it has ended."""
    await define(channel, "one", work=[])
    await start_run(channel, "one")
    engine = coordinator.engine
    cursor = await conn.execute("select pid from pg_stat_activity where datname = current_database()")
    pids = [pid for (pid,) in await cursor.fetchall()]
    woken: list[int] = []

    def heard(pid: int) -> bool:
        woken.clear()
        engine._on_ready("1", pid)
        return woken == [1]

    monkeypatch.setattr(engine.dispatcher, "wake", woken.extend)
    assert not all(heard(pid) for pid in pids)
    engine._listening()
    assert all(heard(pid) for pid in pids)


async def test_a_request_that_never_arrived_is_recorded_when_it_is_sent_again(database: str) -> None:
    async with behind_a_proxy(database) as (proxy, coordinator, channel):
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=20) as worker:
            await start_runs(channel, "one", 20)
            tasks = await worker.take_tasks(20)
            proxy.accepts = False
            proxy.cut()
            worker.complete(*tasks)

            async def noticed() -> bool:
                return "lanes" in coordinator.engine.unhealthy()

            await eventually(noticed)
            assert worker.acks == []
            proxy.accepts = True
            assert {ack.verdict for ack in await worker.take_acks(20)} == {RECORDED}

            async def well_again() -> bool:
                return not coordinator.engine.unhealthy()

            # Also the lane for which nothing is left to do.
            await eventually(well_again)
        assert coordinator.engine.completions.held_bytes == 0


async def test_an_outage_is_pushed_back_within_the_bound_and_drops_nothing(database: str) -> None:
    output = b'"' + b"x" * 500_000 + b'"'
    async with behind_a_proxy(database, max_held_bytes=2 << 20) as (proxy, coordinator, channel):
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=20) as worker:
            await start_runs(channel, "one", 20)
            tasks = {task.token: task for task in await worker.take_tasks(20)}
            proxy.accepts = False
            proxy.cut()
            for task in tasks.values():
                worker.complete(task, output=output)
            busy = await worker.take_acks(15)
            assert {ack.verdict for ack in busy} == {BUSY}
            assert coordinator.engine.completions.held_bytes < 3 << 20
            proxy.accepts = True
            recorded = {ack.token for ack in await worker.take_acks(5)}
            assert recorded | {ack.token for ack in busy} == tasks.keys()
            for ack in busy[:10]:
                worker.complete(tasks[ack.token])
            assert {ack.verdict for ack in await worker.take_acks(10)} == {RECORDED}


async def test_progress_that_was_told_during_an_outage_is_kept(database: str) -> None:
    async with behind_a_proxy(database) as (proxy, coordinator, channel):
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=1) as worker:
            run_id = await start_run(channel, "one")
            (task,) = await worker.take_tasks(1)
            proxy.accepts = False
            proxy.cut()
            progress = worker_pb2.TaskProgress(token=task.token, fraction=0.5, message="half")
            worker.send(heartbeat=worker_pb2.Heartbeat(progress=[progress]))

            async def failed() -> bool:
                return "progress" in coordinator.engine.unhealthy()

            await eventually(failed)
            proxy.accepts = True

            async def kept() -> bool:
                return (await get_task(channel, run_id, "work")).progress_message == "half"

            await eventually(kept)


async def serve(worker: RawWorker, until: asyncio.Event) -> dict[bytes, list[int]]:
    """Completes whatever comes, one task at a time; returns the verdicts by token."""
    verdicts: dict[bytes, list[int]] = {}
    while not until.is_set():
        tasks, worker.tasks = worker.tasks, []
        acks, worker.acks = worker.acks, []
        for ack in acks:
            verdicts.setdefault(ack.token, []).append(ack.verdict)
        if tasks:
            worker.complete(*tasks)
            worker.grant(len(tasks))
        await asyncio.sleep(0.005)
    return verdicts


async def test_backends_that_are_ended_all_the_time_lose_and_double_nothing(
    coordinator: Coordinator, channel: grpc.aio.Channel, conn: Conn, database: str
) -> None:
    await define(channel, "two", first=[], second=["first"])
    finished = asyncio.Event()
    async with raw_worker(channel, ["two.first", "two.second"], credits=50) as worker:
        await start_runs(channel, "two", 300)
        serving = asyncio.create_task(serve(worker, finished))
        open_runs = "select count(*) from pgflow.runs where status = 'started'"
        for left in range(290, 0, -30):

            async def so_few(most: int = left) -> bool:
                return bool(await value(conn, open_runs) <= most)

            await eventually(so_few)
            await drop_connections(conn, database)

        async def done() -> bool:
            return bool(await value(conn, open_runs) == 0)

        await eventually(done)
        finished.set()
        verdicts = await serving
    assert all(len(seen) == 1 and seen[0] in (RECORDED, DUPLICATE) for seen in verdicts.values())
    assert await value(conn, "select count(*) from pgflow.runs where status = 'completed'") == 300
    assert await value(conn, "select sum(lost_leases + failures) from pgflow.step_tasks") == 0
    assert await value(conn, "select count(*) from pgflow.step_tasks where status = 'completed'") == 600


async def test_anybodys_notification_does_not_end_the_listening(database: str, conn: Conn) -> None:
    settings = {"poll_s": 60, "lease_s": 90, "heartbeat_s": 30}
    async with running_coordinator(database, **settings) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=2) as worker:
            await start_run(channel, "one")
            await worker.take_tasks(1)
            for name in ("ready", "ended", "expand"):
                await conn.execute(sql.SQL("notify {}, 'hello'").format(sql.Identifier(f"pgflow_{name}")))
            run_id = str(await value(conn, "select run_id from pgflow.start_run('one', '{}')"))
            (task,) = await worker.take_tasks(1)
            assert task.run_id == run_id


async def test_the_listening_begins_anew_and_looks_for_what_it_missed(database: str, conn: Conn) -> None:
    async with pg_proxy(database) as proxy:
        settings = {"listen_database_url": proxy.dsn, "poll_s": 60, "lease_s": 90, "heartbeat_s": 30}
        async with running_coordinator(database, **settings) as coordinator, channel_to(coordinator) as channel:
            await define(channel, "one", work=[])
            async with raw_worker(channel, ["one.work"], credits=2) as worker:
                await start_run(channel, "one")
                await worker.take_tasks(1)
                proxy.accepts = False
                proxy.cut()
                await conn.execute("select pgflow.start_run('one', '{}')")
                proxy.accepts = True
                await worker.take_tasks(1)


@pytest.mark.slow
async def test_connections_to_a_server_that_became_read_only_are_given_up(database: str, conn: Conn) -> None:
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    async with running_coordinator(database) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        await conn.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
        await drop_connections(conn, database)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await start_run(channel, "one")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await conn.execute(sql.SQL("alter database {} reset default_transaction_read_only").format(name))
        run_ids = {await start_run(channel, "one") for _ in range(10)}
        worker = await _welcomed(channel)
        worker.grant(10)
        tasks = await worker.take_tasks(10)
        assert {task.run_id for task in tasks} == run_ids
        worker.complete(*tasks)
        assert {ack.verdict for ack in await worker.take_acks(10)} == {RECORDED}
        await worker.close()


async def _welcomed(channel: grpc.aio.Channel) -> RawWorker:
    """A worker that connects until it is let in: who meets a stale connection of the pool is sent away, once."""
    for _ in range(10):
        worker = RawWorker(channel)
        try:
            await worker.open(["one.work"])
        except AssertionError:
            assert worker.error is not None
            assert worker.error.code() is grpc.StatusCode.UNAVAILABLE
            await worker.close()
        else:
            return worker
    raise AssertionError("sent away ten times")


async def test_results_in_flight_are_recorded_and_acknowledged_while_the_coordinator_stops(database: str) -> None:
    coordinator_of = running_coordinator(database)
    coordinator = await coordinator_of.__aenter__()
    async with channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=20) as worker:
            await start_runs(channel, "one", 20)
            tasks = await worker.take_tasks(20)
            async with await psycopg.AsyncConnection.connect(database) as holder:
                await holder.execute("lock table pgflow.runs in exclusive mode")
                worker.complete(*tasks[:10])
                worker.complete(*tasks[10:])

                async def all_have_come() -> bool:
                    return coordinator.engine.completions.held_bytes >= 20 * 200

                await eventually(all_have_come)
                stopping = asyncio.create_task(coordinator_of.__aexit__(None, None, None))
                await eventually(lambda: _is_stopping(coordinator))
                await holder.rollback()
            acks = await worker.take_acks(20)
            assert {ack.verdict for ack in acks} == {RECORDED}
            await stopping


async def _is_stopping(coordinator: Coordinator) -> bool:
    return coordinator.engine.completions._stopping
