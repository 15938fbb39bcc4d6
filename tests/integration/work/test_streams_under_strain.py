"""Frames too large, databases away and answers that are late: what one stream does, and that it stays its own matter."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest

from stepgres.v1 import worker_pb2
from stepgres_service.server import Coordinator
from tests.integration.conftest import channel_to, running_coordinator
from tests.support.flows import define, ended_run, eventually, run_status, start_run, start_runs
from tests.support.pg_proxy import pg_proxy
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.rpc import reason_of, violations_of

HANDLERS = ["one.work"]
Conn = psycopg.AsyncConnection[tuple[Any, ...]]


async def test_an_output_that_only_the_database_can_judge_is_busy_while_it_is_away(database: str) -> None:
    async with (
        pg_proxy(database) as wire,
        running_coordinator(wire.dsn) as coordinator,
        channel_to(coordinator) as channel,
    ):
        await define(channel, "one", work=[])
        async with raw_worker(channel, HANDLERS, credits=2) as worker:
            runs = await start_runs(channel, "one", 2)
            tasks = await worker.take_tasks(2)
            wire.accepts = False
            wire.cut()
            worker.complete(*tasks, output=b"1e400")
            acks = await worker.take_acks(2)
            assert {ack.verdict for ack in acks} == {worker_pb2.ACK_VERDICT_BUSY}
            assert all(ack.retry_after_ms > 0 for ack in acks)
            wire.accepts = True
            unsent = {task.token: task for task in tasks}

            async def all_recorded() -> bool:
                worker.complete(*unsent.values(), output=b"1e400")
                for ack in await worker.take_acks(len(unsent)):
                    if ack.verdict != worker_pb2.ACK_VERDICT_BUSY:
                        assert ack.verdict == worker_pb2.ACK_VERDICT_RECORDED
                        del unsent[ack.token]
                return not unsent

            await eventually(all_recorded)
        for run_id in runs:
            assert (await ended_run(channel, run_id)).output == b'{"work":1e400}'


async def test_a_token_that_no_frame_could_name_ends_the_stream_of_who_sent_it(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, HANDLERS) as worker, raw_worker(channel, HANDLERS, credits=1) as neighbour:
        worker.complete(worker_pb2.LeasedTask(token=b"x" * 5_000_000))
        error = await worker.ended()
        assert reason_of(error) == "FIELD_TOO_LONG"
        assert "5000000" in violations_of(error)["result_batch.results[0].token"]
        await start_run(channel, "one")
        neighbour.complete(*await neighbour.take_tasks(1))
        await neighbour.take_acks(1)

    resuming = RawWorker(channel)
    with pytest.raises(AssertionError):
        await resuming.open(HANDLERS, session_id=os.urandom(16), held=[b"x" * 42, b"y" * 5_000_000])
    assert "5000000" in violations_of(resuming.error)["hello.held_tokens[1]"]
    await resuming.close()


async def test_many_lost_leases_are_named_in_frames_of_a_size(channel: grpc.aio.Channel) -> None:
    frames: list[int] = []

    class Counting(RawWorker):
        async def _take(self, frame: worker_pb2.WorkResponse) -> None:
            if frame.HasField("lease_lost"):
                frames.append(len(frame.lease_lost.tokens))
            await super()._take(frame)

    worker = Counting(channel)
    held = [os.urandom(42) for _ in range(1201)]
    welcome = await worker.open(HANDLERS, session_id=os.urandom(16), held=held)
    assert not welcome.resumed
    await worker.until(lambda: len(worker.lost) == 1201)
    assert worker.lost == held
    assert frames == [500, 500, 201]
    await worker.close()


async def test_more_results_than_allowed_end_the_stream_before_any_of_them_counts(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(max_credits=10) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1) as worker:
            (task,) = await worker.take_tasks(1)
            (session,) = coordinator.engine.registry.sessions.values()
            worker.complete(*[task] * 21)
            error = await worker.ended()
            assert error is not None
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_RESULTS")
            assert "21 results" in (error.details() or "")
            assert session.unacked == 0
            assert worker.welcome is not None
            resumed = RawWorker(channel, worker.instance_id)
            assert (await resumed.open(HANDLERS, session_id=worker.welcome.session_id, held=[task.token])).resumed
            resumed.complete(task)
            await resumed.take_acks(1)
            assert await run_status(channel, run_id) == "COMPLETED"
            await resumed.close()


async def test_whatever_becomes_of_results_none_stays_counted_as_unacknowledged(
    coordinator: Coordinator, channel: grpc.aio.Channel
) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, HANDLERS, credits=6) as worker:
        await start_runs(channel, "one", 6)
        (session,) = coordinator.engine.registry.sessions.values()
        good, doubled, bad, odd, failed, released = await worker.take_tasks(6)
        worker.complete(good, doubled, doubled)
        worker.complete(bad, output=b"{")
        worker.complete(odd, output=b"1e400")
        worker.fail(failed, non_retryable=True)
        worker.release(released)
        worker.complete(worker_pb2.LeasedTask(token=session.id + os.urandom(26)))
        worker.complete(worker_pb2.LeasedTask(token=os.urandom(42)))
        worker.complete(good)
        await worker.take_acks(10)
        assert (session.unacked, session.unread) == (0, 0)
        assert coordinator.engine.completions.held_bytes == 0


async def test_a_result_that_meets_its_timeout_is_recorded_once_and_answered(
    channel: grpc.aio.Channel, database: str, coordinator: Coordinator
) -> None:
    await define(channel, "one", step={"timeout_s": 1, "max_attempts": 1}, work=[])
    async with raw_worker(channel, HANDLERS, credits=1) as worker:
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        (session,) = coordinator.engine.registry.sessions.values()
        async with await psycopg.AsyncConnection.connect(database) as locker:
            await locker.execute("select from pgflow.runs for update")
            # Told to stop: the timeout is on its way to the database, behind the lock, when the result comes.
            await worker.until(lambda: worker.lost == [task.token])
            worker.complete(task)

            async def both_wait() -> bool:
                return session.unacked == 1

            await eventually(both_wait)
            await locker.rollback()
        (ack,) = await worker.take_acks(1)
        run = await ended_run(channel, run_id)
        if ack.verdict == worker_pb2.ACK_VERDICT_RECORDED:
            assert run.output == b'{"work":1}'
        else:
            # The timeout came first, and is what the fence remembers of this lease, or what ended it.
            assert ack.verdict in (worker_pb2.ACK_VERDICT_STALE, worker_pb2.ACK_VERDICT_DUPLICATE)
            assert run.error.code == "TIMEOUT"

        async def nothing_is_left() -> bool:
            return session.leases == {} and session.unacked == 0

        await eventually(nothing_is_left)


async def test_a_lease_whose_delivery_takes_a_while_is_not_taken_back(
    coordinator: Coordinator, channel: grpc.aio.Channel, database: str, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    run_id = await start_run(channel, "one")
    async with raw_worker(channel, HANDLERS) as worker:
        coordinator.engine.definitions._flows.clear()
        async with await psycopg.AsyncConnection.connect(database) as locker:
            await locker.execute("lock table pgflow.workflow_steps")
            worker.grant(1)

            async def leased() -> bool:
                row = await (await conn.execute("select status from pgflow.step_tasks")).fetchone()
                return row == ("started",)

            await eventually(leased)
            # Notifications can make comparisons follow each other at once.
            for _ in range(3):
                await coordinator.engine._renewals.run_once()
            await locker.rollback()
        worker.complete(*await worker.take_tasks(1))
        assert [ack.verdict for ack in await worker.take_acks(1)] == [worker_pb2.ACK_VERDICT_RECORDED]
        assert await run_status(channel, run_id) == "COMPLETED"


async def test_what_was_leased_and_never_delivered_goes_back(start_coordinator: Callable[..., Any], conn: Conn) -> None:
    async with start_coordinator(heartbeat_s=0.2) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        run_id = await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS) as worker:
            assert worker.welcome is not None
            # As a lease whose answer was lost: the database knows of it, this coordinator does not.
            await conn.execute(
                "select pgflow.lease_tasks(array_agg(r.route_id), array[s.session_id], array[s.worker_id], array[1])"
                " from pgflow.routes as r, pgflow.sessions as s where s.session_id = %s group by s.session_id",
                [worker.welcome.session_id.hex()],
            )
            worker.grant(1)
            worker.complete(*await worker.take_tasks(1))
            await worker.take_acks(1)
        assert await run_status(channel, run_id) == "COMPLETED"


@pytest.mark.tampers
async def test_a_worker_is_told_of_leases_that_the_database_does_not_know(
    start_coordinator: Callable[..., Any], conn: Conn
) -> None:
    async with start_coordinator(heartbeat_s=0.2) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        await start_run(channel, "one")
        async with raw_worker(channel, HANDLERS, credits=1) as worker:
            (task,) = await worker.take_tasks(1)
            # As somebody at psql would: nothing announces it.
            await conn.execute("update pgflow.step_tasks set session_id = null")
            await worker.until(lambda: worker.lost == [task.token])


async def test_a_silent_worker_is_asked_for_a_sign_of_life(start_coordinator: Callable[..., Any]) -> None:
    async with (
        start_coordinator(lease_s=2, heartbeat_s=0.2) as coordinator,
        channel_to(coordinator) as channel,
        raw_worker(channel, HANDLERS) as worker,
    ):
        await worker.until(lambda: worker.pings > 0)


async def test_a_hundred_streams_that_break_at_once_leave_nothing(
    coordinator: Coordinator, channel: grpc.aio.Channel, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    async with channel_to(coordinator) as theirs:
        workers = [RawWorker(theirs) for _ in range(100)]
        await asyncio.gather(*(worker.open(HANDLERS, reconnect_grace_ms=1) for worker in workers))
        for worker in workers:
            worker.grant(2)
        runs = await start_runs(channel, "one", 200)
        await asyncio.gather(*(worker.take_tasks(2) for worker in workers))
        for number, worker in enumerate(workers):
            if number % 4 == 0:
                worker.send(hello=worker_pb2.Hello())  # ended by the coordinator
            elif number % 4 == 1:
                worker.cut()
            elif number % 4 == 2:
                worker._outgoing.put_nowait(None)  # half-closed
            # the others go with their connection
        await asyncio.gather(*(worker.ended() for number, worker in enumerate(workers) if number % 4 < 3))
    registry = coordinator.engine.registry
    async with raw_worker(channel, HANDLERS, credits=200) as heir:
        heir.complete(*await heir.take_tasks(200))
        await heir.take_acks(200)
        assert len(registry.sessions) == 1
    for run_id in runs[:3]:
        assert await run_status(channel, run_id) == "COMPLETED"

    async def none_is_left() -> bool:
        row = await (await conn.execute("select count(*) from pgflow.sessions where closed_at is null")).fetchone()
        return row == (0,) and not registry.sessions and not registry._graces

    await eventually(none_is_left)
    assert coordinator.engine.dispatcher._groups == {}
    assert coordinator.engine.dispatcher.outstanding() == 0
    for worker in workers:
        await worker.close()
