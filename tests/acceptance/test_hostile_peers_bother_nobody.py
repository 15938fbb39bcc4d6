"""A crowd of clients that break every rule at once, around a coordinator that works for others meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from stepgres.v1 import run_pb2, run_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.acceptance.system import LONG_LEASE, System, system
from tests.support.raw_worker import RawWorker
from tests.support.rpc import reason_of

pytestmark = pytest.mark.slow

#: Bytes that a coordinator may grow by, whatever its peers do: far less than what they send.
_GROWTH = 150 << 20
_STREAMS = 1_000
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 10_000),
]  # fmt: skip


def memory_of(running: System) -> int:
    """Bytes that the coordinator has in use."""
    (process,) = running.coordinators[0].processes()
    return int(process.memory_info().rss)


async def refused(worker: RawWorker) -> grpc.aio.AioRpcError:
    error = await worker.ended()
    assert error is not None
    return error


async def flood(worker: RawWorker) -> None:
    """Asks for more than there can be, and says that it is alive, without end."""
    for _ in range(50):
        worker.grant((1 << 31) - 1)
        worker.send(
            heartbeat=worker_pb2.Heartbeat(progress=[worker_pb2.TaskProgress(token=os.urandom(44), fraction=0.5)] * 20)
        )
        garbage = worker_pb2.Result(token=os.urandom(44), completed=worker_pb2.Completed(output=b"1"))
        worker.send(result_batch=worker_pb2.ResultBatch(results=[garbage] * 10))


async def test_a_crowd_of_them(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, coordinators=1, workers=1, settings=LONG_LEASE) as running:
        address = running.coordinators[0].address
        await running.start_diamonds(1)
        before = memory_of(running)
        channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(20)]
        # As many as there may be; two are the system's own.
        crowd = [RawWorker(channels[number % 20]) for number in range(_STREAMS - 2)]
        for start in range(0, len(crowd), 100):
            await asyncio.gather(*(worker.open(["nothing"]) for worker in crowd[start : start + 100]))
        one_more = RawWorker(channels[0])
        with pytest.raises(AssertionError, match="the stream ended"):
            await one_more.open(["nothing"])
        assert reason_of(await refused(one_more)) == "TOO_MANY_STREAMS"

        flooding = asyncio.gather(*(flood(worker) for worker in crowd))
        watches = [await _unread_watch(channels[number % 20], running) for number in range(500)]
        oversized = [_oversized(channel) for channel in channels]
        # Others work meanwhile.
        for _ in range(5):
            await running.start_diamonds(100)
        await flooding
        codes = {error.code() for error in await asyncio.gather(*oversized)}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await running.until(lambda: len(running.executions()) == 4 * 501)
        assert memory_of(running) - before < _GROWTH

        for watch in watches:
            watch.cancel()
        await asyncio.gather(*(worker.close() for worker in crowd))
        await asyncio.gather(*(channel.close() for channel in channels))
        findings = await running.finish()
        assert (findings.executed_twice, findings.runs) == (0, 501)


async def _unread_watch(channel: grpc.aio.Channel, running: System) -> Any:
    """A watch of which nobody reads anything."""
    runs = await running.client.list_runs(page_size=1)
    return run_pb2_grpc.RunServiceStub(channel).WatchRun(run_pb2.WatchRunRequest(run_id=runs.items[0].run_id))


async def _oversized(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    """A first frame larger than any message may be."""
    call: Any = worker_pb2_grpc.WorkerServiceStub(channel).Work()
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call.write(worker_pb2.WorkRequest(hello=worker_pb2.Hello(worker="x" * (30 << 20))))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call.read()
    return refusal.value
