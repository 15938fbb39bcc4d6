"""A thousand watchers of ten runs cost the database what ten watchers cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from stepgres.v1 import run_pb2, run_pb2_grpc
from stepgres_service.server import Coordinator
from stepgres_service.store.runs import RunStore
from tests.integration.conftest import channel_to
from tests.support.flows import define, start_run
from tests.support.raw_worker import raw_worker

ITEMS = 60


async def statements(
    coordinator: Coordinator, watchers_of_a_run: int, counted: Counter[str], worker_channel: grpc.aio.Channel
) -> tuple[int, float]:
    """Watches ten runs from start to end; returns how many snapshots were read, and the reads of changes a second."""
    run_ids = [await start_run(worker_channel, "f", list(range(ITEMS))) for _ in range(10)]
    counted.clear()
    channels = [channel_to(coordinator) for _ in range(4)]
    ready = asyncio.Semaphore(0)

    async def watch(number: int) -> run_pb2.Run:
        stub = run_pb2_grpc.RunServiceStub(channels[number % len(channels)])
        end = run_pb2.Run()
        async for frame in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run_ids[number % 10])):
            ready.release()
            end = frame.end
        return end

    watchers = [asyncio.create_task(watch(number)) for number in range(10 * watchers_of_a_run)]
    for _ in watchers:
        await ready.acquire()
    async with raw_worker(worker_channel, ["f.m"], credits=10 * ITEMS) as worker:
        tasks = await worker.take_tasks(10 * ITEMS)
        # Opening a thousand streams takes longer than opening ten, which is not what is compared.
        counted["changed_runs"] = 0
        clock = asyncio.get_running_loop().time
        began = clock()
        for chunk in range(ITEMS):
            await asyncio.sleep(began + 0.04 * chunk - clock())
            worker.complete(*tasks[chunk::ITEMS])
        ends = await asyncio.gather(*watchers)
        # A second: the machine that serves a thousand clients of its own takes longer for the same work.
        reads_a_second = counted["changed_runs"] / (clock() - began)
    assert [end.steps[0].counts.completed for end in ends] == [ITEMS] * len(ends)
    for channel in channels:
        await channel.close()
    return counted["get_run"], reads_a_second


@pytest.mark.slow
async def test_the_statements_of_a_thousand_watchers(
    channel: grpc.aio.Channel, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    for name in ("get_run", "changed_runs"):
        original = getattr(RunStore, name)

        async def counting(self: RunStore, *args: Any, _name: str = name, _original: Any = original, **kw: Any) -> Any:
            counted[_name] += 1
            return await _original(self, *args, **kw)

        monkeypatch.setattr(RunStore, name, counting)
    await define(channel, "f", m=[], maps=["m"])
    snapshots, reads_a_second = await statements(coordinator, 1, counted, channel)
    many_snapshots, many_reads_a_second = await statements(coordinator, 100, counted, channel)
    assert snapshots == many_snapshots == 10
    assert 1 < many_reads_a_second <= 1.1 * reads_a_second
