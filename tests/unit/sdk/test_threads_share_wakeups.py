"""Synchronous handlers: few threads for quick ones, enough for slow ones, one wake-up of the loop for many."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from stepgres_worker import Worker, _threads
from stepgres_worker.testing import FakeTransport
from tests.unit.sdk.gates import ThreadGate, acquire


class Counting:
    """Counts calls of call_soon_threadsafe on the way to a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.wakeups = 0

    def call_soon_threadsafe(self, *args: Any) -> Any:
        self.wakeups += 1
        return self._loop.call_soon_threadsafe(*args)

    def call_later(self, *args: Any) -> Any:
        return self._loop.call_later(*args)


class Quick:
    """An execution that does nothing."""

    def run_in_thread(self) -> None:
        """Nothing."""


async def test_many_results_share_a_wakeup() -> None:
    loop, done = Counting(asyncio.get_running_loop()), asyncio.Event()
    finished: list[Any] = []

    def report(execution: Any) -> None:
        finished.append(execution)
        if len(finished) == 10_000:
            done.set()

    threads = _threads.Threads(loop, 100, report)  # type: ignore[arg-type]
    for _ in range(10_000):
        threads.submit(Quick())  # type: ignore[arg-type]
    await done.wait()
    assert loop.wakeups < 500
    assert threads.count < 20  # more would only fight for the interpreter
    threads.close()


async def test_slow_handlers_get_a_thread_each(fake: FakeTransport) -> None:
    gate = ThreadGate()
    worker = Worker(transport=fake, concurrency=40)
    worker.step("slow")(gate)
    async with fake.serving(worker):
        tasks = [fake.send_task("slow", index) for index in range(40)]
        for _ in range(40):
            await acquire(gate.began)
        gate.go.set()
        assert [await task.result() for task in tasks] == list(range(40))


async def test_never_more_threads_than_slots(fake: FakeTransport) -> None:
    names: set[str] = set()
    worker = Worker(transport=fake, concurrency=3)

    @worker.step("name")
    def name(input: Any) -> None:
        names.add(threading.current_thread().name)
        threading.Event().wait(0.002)

    async with fake.serving(worker):
        tasks = [fake.send_task("name") for _ in range(30)]
        for task in tasks:
            await task.result()
    assert names <= {"stepgres-handler-1", "stepgres-handler-2", "stepgres-handler-3"}


async def test_threads_end_with_their_worker(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    threads: list[threading.Thread] = []
    worker.step("note")(lambda input: threads.append(threading.current_thread()))
    async with fake.serving(worker):
        await fake.run_task("note")
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()
