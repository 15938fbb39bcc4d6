"""Breaking, resuming and leaving: what happens to the tasks a session holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import psycopg
import pytest

from stepgres.v1 import worker_pb2
from stepgres_service.server import Coordinator
from stepgres_service.store.flows import FlowStore
from tests.integration.conftest import channel_to
from tests.support.flows import define, ended_run, eventually, get_task, run_status, start_run, start_runs
from tests.support.raw_worker import RawWorker, raw_worker

HANDLERS = ["one.work"]


async def test_goodbye_gives_tasks_back_at_once_and_counts_nothing(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, HANDLERS, credits=1) as leaving:
        await leaving.take_tasks(1)
        async with raw_worker(channel, HANDLERS, credits=1) as staying:
            await leaving.goodbye()
            (task,) = await staying.take_tasks(1)
            assert task.attempt == 1
            assert (await get_task(channel, run_id, "work")).lost_leases == 0


async def test_a_broken_stream_loses_its_tasks_after_its_grace(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, HANDLERS, credits=1, reconnect_grace_ms=200) as dying:
        (lost,) = await dying.take_tasks(1)
        async with raw_worker(channel, HANDLERS, credits=1) as other:
            dying.cut()
            (task,) = await other.take_tasks(1)
            assert task.attempt == 1
            assert (await get_task(channel, run_id, "work")).lost_leases == 1
            other.complete(worker_pb2.LeasedTask(token=lost.token), task, output=b'"rescued"')
            acks = {ack.token: ack.verdict for ack in await other.take_acks(2)}
            assert acks[lost.token] == worker_pb2.ACK_VERDICT_STALE
            assert (await ended_run(channel, run_id)).output == b'{"work":"rescued"}'


async def test_a_task_that_kills_its_workers_ends_as_lease_lost(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(max_lost_leases=1) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", step={"max_attempts": 9}, work=[])
        run_id = await start_run(channel, "one")
        for _ in range(2):
            async with raw_worker(channel, HANDLERS, credits=1, reconnect_grace_ms=1) as victim:
                await victim.take_tasks(1)
                victim.cut()
        run = await ended_run(channel, run_id)
        assert run.error.code == "LEASE_LOST"
        task = await get_task(channel, run_id, "work")
        assert [attempt.code for attempt in task.attempts] == ["LEASE_LOST", "LEASE_LOST"]


async def test_a_resumed_session_keeps_what_it_lists_and_gives_back_the_rest(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    await start_runs(channel, "one", 2)
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS, reconnect_grace_ms=5000)
    first.grant(2)
    kept, dropped = await first.take_tasks(2)
    first.cut()
    await first.ended()

    second = RawWorker(channel, first.instance_id)
    again = await second.open(HANDLERS, session_id=welcome.session_id, held=[kept.token])
    assert again.resumed
    assert again.session_id == welcome.session_id
    second.complete(kept)
    assert [ack.verdict for ack in await second.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
    second.grant(1)
    (back,) = await second.take_tasks(1)
    assert back.run_id == dropped.run_id
    assert back.token != dropped.token
    assert (await get_task(channel, back.run_id, "work")).lost_leases == 0
    await second.close()
    await first.close()


async def test_what_a_resumed_session_holds_is_read_in_one_go(
    start_coordinator: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = FlowStore.load_versions

    async def load_versions(self: FlowStore, version_ids: Sequence[int]) -> Any:
        reads.append(len(version_ids))
        return await real(self, version_ids)

    async with (
        start_coordinator() as one,
        start_coordinator() as two,
        channel_to(one) as channel,
        channel_to(two) as other,
    ):
        for n in range(20):
            await define(channel, f"flow{n}", step={"handler": "work"}, work=[])
            await start_run(channel, f"flow{n}")
        worker = RawWorker(channel)
        welcome = await worker.open(["work"], reconnect_grace_ms=5000)
        worker.grant(20)
        tasks = await worker.take_tasks(20)
        worker.cut()
        await worker.ended()
        monkeypatch.setattr(FlowStore, "load_versions", load_versions)
        resumed = RawWorker(other, worker.instance_id)
        held = [task.token for task in tasks]
        assert (await resumed.open(["work"], session_id=welcome.session_id, held=held)).resumed
        assert reads == [20]
        resumed.complete(*tasks)
        assert {ack.verdict for ack in await resumed.take_acks(20)} == {worker_pb2.ACK_VERDICT_RECORDED}
        await resumed.close()
        await worker.close()


async def test_the_grace_is_what_hello_says_up_to_the_lease(
    coordinator: Coordinator, channel: grpc.aio.Channel
) -> None:
    for asked_ms, granted_s in ((0, 2), (200, 0.2), (3_600_000, 15)):
        async with raw_worker(channel, HANDLERS, reconnect_grace_ms=asked_ms) as worker:
            (session,) = coordinator.engine.registry.sessions.values()
            assert session.grace_s == granted_s
            await worker.goodbye()


async def test_a_resume_does_not_begin_the_timeout_anew(
    channel: grpc.aio.Channel, conn: psycopg.AsyncConnection[Any]
) -> None:
    await define(channel, "one", step={"timeout_s": 3600, "max_attempts": 1}, work=[])
    run_id = await start_run(channel, "one")
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS, reconnect_grace_ms=5000)
    first.grant(1)
    (task,) = await first.take_tasks(1)
    await conn.execute("update pgflow.step_tasks set started_at = started_at - interval '2 hours'")
    second = RawWorker(channel, first.instance_id)
    assert (await second.open(HANDLERS, session_id=welcome.session_id, held=[task.token])).resumed
    assert (await ended_run(channel, run_id)).error.code == "TIMEOUT"
    await second.close()
    await first.close()


async def test_a_session_moves_to_another_coordinator_with_its_leases(
    coordinator: Coordinator, channel: grpc.aio.Channel, start_coordinator: Callable[..., Any]
) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS)
    first.grant(1)
    (task,) = await first.take_tasks(1)
    async with start_coordinator() as elsewhere, channel_to(elsewhere) as other:
        second = RawWorker(other, first.instance_id)
        again = await second.open(HANDLERS, session_id=welcome.session_id, held=[task.token])
        assert again.resumed
        second.complete(task)
        assert [ack.verdict for ack in await second.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        assert await run_status(channel, run_id) == "COMPLETED"
        await second.goodbye()
    await first.close()


async def test_a_result_whose_ack_was_lost_is_a_duplicate_after_the_resume(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    await start_run(channel, "one")
    first = RawWorker(channel)
    welcome = await first.open(HANDLERS)
    first.grant(1)
    (task,) = await first.take_tasks(1)
    first.complete(task)
    await first.take_acks(1)
    first.cut()
    second = RawWorker(channel, first.instance_id)
    again = await second.open(HANDLERS, session_id=welcome.session_id, held=[task.token])
    assert again.resumed
    second.complete(task)
    assert [ack.verdict for ack in await second.take_acks(1)] == [worker_pb2.ACK_VERDICT_DUPLICATE]
    await second.close()
    await first.close()


async def test_a_stranger_cannot_resume_a_session(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    await start_run(channel, "one")
    async with raw_worker(channel, HANDLERS, credits=1) as owner:
        (task,) = await owner.take_tasks(1)
        assert owner.welcome is not None
        stranger = RawWorker(channel)
        welcome = await stranger.open(HANDLERS, session_id=owner.welcome.session_id, held=[task.token])
        assert not welcome.resumed
        await stranger.until(lambda: stranger.lost == [task.token])
        owner.complete(task)
        assert [ack.verdict for ack in await owner.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        await stranger.close()


async def test_a_silent_worker_is_cut_off_and_its_task_runs_elsewhere(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator(lease_s=1, heartbeat_s=0.3) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1, reconnect_grace_ms=1) as silent:
            await silent.take_tasks(1)
            error = await silent.ended()
            assert error is not None
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with raw_worker(channel, HANDLERS, credits=1) as other:
            other.complete(*await other.take_tasks(1))
            await other.take_acks(1)
        assert await run_status(channel, run_id) == "COMPLETED"


async def test_heartbeats_keep_a_session_beyond_its_lease(start_coordinator: Callable[..., Any], database: str) -> None:
    async with start_coordinator(lease_s=1, heartbeat_s=0.3) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1) as worker:
            (task,) = await worker.take_tasks(1)
            until = await _now(database)

            async def outlived() -> bool:
                worker.send(heartbeat=worker_pb2.Heartbeat())
                return (await _now(database) - until) > 2.5

            await eventually(outlived)
            worker.complete(task)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]


async def test_the_coordinator_times_out_what_its_worker_does_not(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", step={"timeout_s": 1, "max_attempts": 1}, work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, HANDLERS, credits=1) as worker:
        (task,) = await worker.take_tasks(1)
        run = await ended_run(channel, run_id)
        assert run.error.code == "TIMEOUT"
        await worker.until(lambda: task.token in worker.lost + worker.cancelled)


async def test_a_draining_coordinator_tells_its_workers_and_takes_no_new_ones(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(drain_s=5) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        async with raw_worker(channel, HANDLERS, credits=1) as worker:
            run_id = await start_run(channel, "one")
            (task,) = await worker.take_tasks(1)
            draining = asyncio.create_task(coordinator.engine.drain(5))
            await worker.until(lambda: worker.drain is not None)
            late = RawWorker(channel)
            late.connect()
            late.send(
                hello=worker_pb2.Hello(
                    worker="late",
                    instance_id=b"x" * 16,
                    min_protocol_version=1,
                    max_protocol_version=1,
                    subscriptions=[worker_pb2.Subscription(handlers=[worker_pb2.Handler(name="one.work")])],
                )
            )
            error = await late.ended()
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            worker.complete(task)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
            assert await run_status(channel, run_id) == "COMPLETED"
            await worker.goodbye()
            await draining


async def _now(database: str) -> float:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        row = await (await conn.execute("select extract(epoch from clock_timestamp())::float8")).fetchone()
    assert row is not None
    return float(row[0])
