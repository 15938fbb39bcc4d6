"""A worker that sends and never reads: it holds nothing for long, and nothing piles up for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog

from stepgres.v1 import worker_pb2, worker_pb2_grpc
from tests.integration.conftest import channel_to
from tests.support.flows import define, eventually, run_status, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of

HELLO = worker_pb2.Hello(
    worker="deaf",
    instance_id=b"0123456789abcdef",
    min_protocol_version=1,
    max_protocol_version=1,
    subscriptions=[worker_pb2.Subscription(handlers=[worker_pb2.Handler(name="one.work")])],
    reconnect_grace_ms=1,
)
#: More than any window of the transport holds.
TASKS, LARGE = 24, "x" * 900_000
ALIVE = worker_pb2.WorkRequest(heartbeat=worker_pb2.Heartbeat())


@asynccontextmanager
async def deaf_worker(channel: grpc.aio.Channel, credits: int) -> AsyncIterator[Any]:
    """A stream that is read up to its Welcome and no further."""
    call: Any = worker_pb2_grpc.WorkerServiceStub(channel).Work()
    try:
        await call.write(worker_pb2.WorkRequest(hello=HELLO))
        assert (await call.read()).HasField("welcome")
        await call.write(worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=credits)))
        yield call
    finally:
        call.cancel()


async def say_again_and_again(call: Any, frame: worker_pb2.WorkRequest, pause_s: float = 0.05) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        while True:
            await call.write(frame)
            await asyncio.sleep(pause_s)


async def wakes_up(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_the_tasks_of_a_worker_that_is_alive_and_never_reads_run_elsewhere(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(lease_s=1, heartbeat_s=0.3) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        with structlog.testing.capture_logs() as lines:
            async with channel_to(coordinator) as its_own, deaf_worker(its_own, TASKS) as deaf:
                alive = asyncio.create_task(say_again_and_again(deaf, ALIVE))
                (session,) = coordinator.engine.registry.sessions.values()
                runs = [await start_run(channel, "one", LARGE) for _ in range(TASKS)]

                async def it_has_all() -> bool:
                    return len(session.leases) == TASKS

                await eventually(it_has_all)
                async with raw_worker(channel, ["one.work"], credits=TASKS) as other:
                    other_alive = asyncio.create_task(say_again_and_again_raw(other))
                    tasks = await other.take_tasks(TASKS)
                    other.complete(*tasks)
                    await other.take_acks(TASKS)
                    other_alive.cancel()
                with pytest.raises(grpc.aio.AioRpcError) as refusal:
                    await wakes_up(deaf)
                await alive
        assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(refusal.value) == "WORKER_SILENT"
        assert {await run_status(channel, run_id) for run_id in runs} == {"COMPLETED"}
        assert [line["worker"] for line in lines if line["event"] == "worker does not read its stream"] == ["deaf"]


async def say_again_and_again_raw(worker: Any) -> None:
    while True:
        worker.send(heartbeat=worker_pb2.Heartbeat())
        await asyncio.sleep(0.05)


async def test_a_frozen_worker_in_the_middle_of_a_frame_is_silent_like_any_other(
    start_coordinator: Callable[..., Any],
) -> None:
    async with start_coordinator(lease_s=1, heartbeat_s=0.3) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        async with channel_to(coordinator) as its_own, deaf_worker(its_own, TASKS):
            for _ in range(TASKS):
                await start_run(channel, "one", LARGE)

            async def forgotten() -> bool:
                return not coordinator.engine.registry.sessions

            await eventually(forgotten)


async def test_verdicts_for_a_worker_that_never_reads_do_not_pile_up(start_coordinator: Callable[..., Any]) -> None:
    async with start_coordinator(max_credits=1000) as coordinator, channel_to(coordinator) as channel:
        garbage = worker_pb2.ResultBatch(
            results=[worker_pb2.Result(token=n.to_bytes(200), released=worker_pb2.Released()) for n in range(500)]
        )
        async with deaf_worker(channel, 1) as deaf:
            (session,) = coordinator.engine.registry.sessions.values()
            garbling = asyncio.create_task(
                say_again_and_again(deaf, worker_pb2.WorkRequest(result_batch=garbage), pause_s=0)
            )

            async def refused() -> bool:
                return session.ended is not None

            await eventually(refused)
            garbling.cancel()
            assert session.ended is not None
            assert session.ended.reason == "TOO_MANY_RESULTS"
