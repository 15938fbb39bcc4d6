"""Flow control: as many tasks as there are free slots, and each freed slot refills alone."""

from __future__ import annotations

import asyncio
from typing import Any

from stepgres_worker import Worker
from stepgres_worker.testing import FakeTransport, ManualClock
from tests.unit.sdk.gates import Gate, ThreadGate, acquire


async def test_never_more_tasks_than_slots(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, concurrency=3)
    running = most = 0

    @worker.step("count")
    async def count(input: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    tasks = [fake.send_task("count", index) for index in range(50)]
    async with fake.serving(worker):
        for task in tasks:
            await task.result()
    assert most == 3
    assert fake.most_leased == 3


async def test_each_freed_slot_refills_alone(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=3)
    worker.step("gate")(gate)
    tasks = [fake.send_task("gate", index) for index in range(5)]
    async with fake.serving(worker):
        await gate.has_started(3)
        assert fake.grants == [3]
        gate.one()
        await gate.has_started(4)  # two of the first three still run
        assert fake.grants == [3, 1]
        assert fake.leased == 3
        gate.open()
        assert [await task.result() for task in tasks] == [0, 1, 2, 3, 4]


async def test_credits_that_are_out_are_not_granted_again(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, concurrency=3)
    worker.step("nothing")(lambda input: None)
    async with fake.serving(worker):
        await fake.until(lambda: len(fake.grants) == 1)
        fake.ping()
        await fake.until(lambda: len(fake.of("heartbeat")) == 1)
        assert fake.grants == [3]


async def test_tasks_that_end_in_one_turn_share_a_frame(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, concurrency=50)

    @worker.step("nothing")
    async def nothing(input: Any) -> None:
        return None

    tasks = [fake.send_task("nothing") for _ in range(50)]
    async with fake.serving(worker):
        for task in tasks:
            await task.result()
    assert [len(batch.results) for batch in fake.of("result_batch")] == [50]
    assert fake.grants == [50, 50]


async def test_handlers_that_wait_all_run_at_once(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=100)
    worker.step("gate")(gate)
    tasks = [fake.send_task("gate", index) for index in range(100)]
    async with fake.serving(worker):
        await gate.has_started(100)
        gate.open()
        assert [await task.result() for task in tasks] == list(range(100))


async def test_the_coordinators_limit_counts() -> None:
    fake = FakeTransport(max_credits=7)
    worker = Worker(transport=fake, concurrency=100)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        await fake.until(lambda: bool(fake.grants))
        assert fake.grants == [7]


async def test_a_thread_past_its_deadline_keeps_its_slot(fake: FakeTransport, clock: ManualClock) -> None:
    gate = ThreadGate()
    worker = Worker(transport=fake, concurrency=1, clock=clock)
    worker.step("slow")(gate)
    async with fake.serving(worker):
        task = fake.send_task("slow", timeout_s=5)
        await acquire(gate.began)
        await clock.advance(5)
        assert (await task.outcome()).failed.code == "TIMEOUT"
        assert sum(fake.grants) == 1
        gate.go.set()
        assert await fake.run_task("slow", "next") == "next"


async def test_results_without_acks_hold_back_the_credits(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, concurrency=10)

    @worker.step("nothing")
    async def nothing(input: Any) -> None:
        return None

    fake.hold_acks()
    async with fake.serving(worker):
        for _ in range(2000):
            fake.send_task("nothing")
        await fake.until(lambda: len([r for b in fake.of("result_batch") for r in b.results]) > 1000)
        sent = len([r for b in fake.of("result_batch") for r in b.results])
        assert sent <= 1000 + 2 * 10
        fake.release_acks()
        await fake.until(lambda: len([r for b in fake.of("result_batch") for r in b.results]) == 2000)
