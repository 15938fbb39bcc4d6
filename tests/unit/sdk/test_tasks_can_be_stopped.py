"""Cancel, lost leases and timeouts, for coroutines and for threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from stepgres_worker import Context, Worker
from stepgres_worker.testing import FakeTransport, ManualClock, TaskFailed
from tests.unit.sdk.gates import Gate, ThreadGate, acquire


@pytest.mark.parametrize("how", ["cancel", "lose"])
async def test_a_coroutine_is_cancelled_and_sends_nothing(fake: FakeTransport, how: str) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=1)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        task = fake.send_task("gate", "first")
        await gate.has_started(1)
        getattr(fake, how)(task)
        await gate.has_cancelled(1)
        gate.open()
        assert await fake.run_task("gate", "second") == "second"  # the slot is free again
    assert [result.token for batch in fake.of("result_batch") for result in batch.results] != [task.token]
    assert len(fake.acks) == 1


@pytest.mark.parametrize("how", ["cancel", "lose"])
async def test_a_thread_sees_that_it_is_cancelled(fake: FakeTransport, how: str) -> None:
    worker = Worker(transport=fake, concurrency=1)
    began, seen = threading.Event(), threading.Semaphore(0)

    @worker.step("look")
    def look(input: Any, ctx: Context) -> str:
        if input == "second":
            return "second"
        began.set()
        for _ in range(10_000):
            if ctx.cancelled:
                seen.release()
                break
            threading.Event().wait(0.001)
        return "nobody wants this"

    async with fake.serving(worker):
        task = fake.send_task("look", "first")
        await asyncio.to_thread(began.wait, 10)
        getattr(fake, how)(task)
        await acquire(seen)
        assert await fake.run_task("look", "second") == "second"
    assert len(fake.acks) == 1


async def test_a_task_cancelled_before_it_began_never_begins(fake: FakeTransport) -> None:
    began: list[Any] = []
    worker = Worker(transport=fake)

    @worker.step("note")
    async def note(input: Any) -> None:
        began.append(input)

    async with fake.serving(worker):
        first = fake.send_task("note", 1)
        fake.cancel(first)  # both frames arrive in one turn of the loop
        await fake.send_task("note", 2).result()
    assert began in ([2], [1, 2])
    assert len(fake.acks) <= 2


async def test_a_result_whose_task_is_cancelled_is_not_sent_again(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.hold_acks()
        task = fake.send_task("one")
        await task.result()
        fake.cancel(task)
        fake.disconnect()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        assert list(fake.of("hello")[1].held_tokens) == []
        fake._held_acks = None


async def test_a_coroutine_is_cancelled_at_its_deadline(fake: FakeTransport, clock: ManualClock) -> None:
    gate = Gate()
    worker = Worker(transport=fake, clock=clock)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        long, short = fake.send_task("gate", "long", timeout_s=60), fake.send_task("gate", "short", timeout_s=5)
        await gate.has_started(2)
        await clock.advance(4.9)
        assert gate.cancelled == []
        await clock.advance(0.2)
        assert gate.cancelled == ["short"]
        with pytest.raises(TaskFailed, match="TIMEOUT: the handler took longer than 5 s") as failure:
            await short.result()
        assert failure.value.retryable
        gate.open()
        assert await long.result() == "long"


async def test_a_thread_past_its_deadline_is_named_and_its_result_dropped(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    gate = ThreadGate()
    worker = Worker(transport=fake, clock=clock)
    worker.step("slow")(gate)
    caplog.set_level(logging.WARNING, logger="stepgres_worker")
    async with fake.serving(worker):
        task = fake.send_task("slow", timeout_s=5)
        await acquire(gate.began)
        await clock.advance(5.1)
        with pytest.raises(TaskFailed, match="TIMEOUT"):
            await task.result()
        assert "handler slow did not return within its 5 s" in caplog.text
        gate.go.set()
        await acquire(gate.returned)
        await fake.run_task("slow", "next")
    assert len(fake.acks) == 2


async def test_deadlines_that_were_met_leave_no_trace(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)

    @worker.step("yield")
    async def quick(input: Any) -> int:
        await asyncio.sleep(0)
        return 1

    async with fake.serving(worker):
        for timeout_s in (5, 1, 3, 5, 1):
            assert await fake.run_task("yield", timeout_s=timeout_s) == 1
            await clock.advance(0.5)
        await clock.advance(10)
    assert all(result.HasField("completed") for batch in fake.of("result_batch") for result in batch.results)


async def test_a_handler_that_swallows_its_cancellation_keeps_its_slot_only(
    fake: FakeTransport, clock: ManualClock
) -> None:
    released = asyncio.Event()
    worker = Worker(transport=fake, clock=clock, concurrency=1)

    @worker.step("stubborn")
    async def stubborn(input: Any) -> str:
        if input == "next":
            return "next"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await released.wait()
        return "too late"

    async with fake.serving(worker):
        task = fake.send_task("stubborn", timeout_s=1)
        await clock.advance(1.1)
        with pytest.raises(TaskFailed, match="TIMEOUT"):
            await task.result()
        assert sum(fake.grants) == 1
        released.set()
        assert await fake.run_task("stubborn", "next") == "next"
    assert len(fake.acks) == 2
