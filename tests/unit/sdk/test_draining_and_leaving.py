"""Drain of a coordinator, and every way in which a worker stops."""

from __future__ import annotations

import asyncio

import pytest

from stepgres_worker import AlreadyExists, Flow, Unavailable, Worker
from stepgres_worker.testing import FakeTransport, ManualClock, TaskReleased
from tests.unit.sdk.gates import Gate, ThreadGate, acquire


async def test_a_drain_moves_the_session_before_the_old_stream_goes(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=5)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        tasks = [fake.send_task("gate", index) for index in range(3)]
        await gate.has_started(3)
        old = fake.drain()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        assert set(fake.of("hello")[1].held_tokens) == {task.token for task in tasks}
        await fake.until(lambda: len(fake.grants) == 2)
        assert fake.grants == [5, 2]
        gate.open()
        assert [await task.result() for task in tasks] == [0, 1, 2]
        assert old.ended
        assert fake.stream is not old
    assert gate.cancelled == []
    assert all(task.lease_seq == 1 for task in tasks)


async def test_while_it_drains_results_still_go_over_the_old_stream(fake: FakeTransport, clock: ManualClock) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=5, clock=clock)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        first, second = fake.send_task("gate", 1), fake.send_task("gate", 2)
        await gate.has_started(2)
        fake.refuse = Unavailable("draining", code="UNAVAILABLE", reason="DRAINING")
        old = fake.drain()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        gate.one()
        assert await first.result() == 1
        assert not old.ended
        assert len(fake.grants) == 1  # nothing more is asked for there
        fake.refuse = None
        await clock.advance(20)
        gate.open()
        assert await second.result() == 2
        assert old.ended


async def test_a_task_that_comes_after_the_new_hello_is_not_begun(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=5)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        held = fake.send_task("gate", "held")
        await gate.has_started(1)
        hello = fake._hello

        def late(stream: object, message: object) -> None:
            # A coordinator that is not quite as strict: it hands out on the old stream although it drains.
            stray = fake.streams[0]
            stray.credits = 1
            fake.send_task("gate", "stray")
            asyncio.get_running_loop().call_later(0, hello, stream, message)

        fake._hello = late  # type: ignore[method-assign]
        fake.drain()
        await gate.has_started(2)
        gate.open()
        await held.result()
    assert gate.started == ["held", "stray"]  # the stray one once, after it was handed out again


async def test_stopping_finishes_what_runs_and_says_goodbye(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=2)
    worker.step("gate")(gate)
    serving = asyncio.create_task(worker.serve())
    tasks = [fake.send_task("gate", index) for index in range(4)]
    await gate.has_started(2)
    worker.stop()
    gate.one()
    assert await tasks[0].result() == 0
    await asyncio.sleep(0)
    assert not serving.done()
    gate.open()
    assert await tasks[1].result() == 1
    await serving
    assert len(fake.of("goodbye")) == 1
    assert fake.frames[-1].WhichOneof("frame") == "goodbye"
    assert fake.grants == [2]
    assert not tasks[2].done


async def test_a_task_that_arrives_while_stopping_is_handed_back(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=2)
    worker.step("gate")(gate)
    serving = asyncio.create_task(worker.serve())
    first = fake.send_task("gate", 1)
    await gate.has_started(1)
    worker.stop()
    late = fake.send_task("gate", 2)  # there was one credit left
    with pytest.raises(TaskReleased):
        await late.result()
    gate.open()
    assert await first.result() == 1
    await serving


async def test_goodbye_waits_for_the_acks(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    fake.hold_acks()
    serving = asyncio.create_task(worker.serve())
    await fake.send_task("one").result()
    worker.stop()
    for _ in range(50):
        await asyncio.sleep(0)
    assert fake.of("goodbye") == []
    fake.release_acks()
    await serving
    assert len(fake.of("goodbye")) == 1


async def test_when_the_drain_takes_too_long_everything_is_handed_back(fake: FakeTransport, clock: ManualClock) -> None:
    gate, thread = Gate(), ThreadGate()
    worker = Worker(transport=fake, clock=clock, drain_timeout_s=20)
    worker.step("gate")(gate)
    worker.step("thread")(thread)
    serving = asyncio.create_task(worker.serve())
    tasks = [fake.send_task("gate"), fake.send_task("thread")]
    await gate.has_started(1)
    await acquire(thread.began)
    worker.stop()
    await clock.advance(19)
    assert not serving.done()
    await clock.advance(2)
    for task in tasks:
        with pytest.raises(TaskReleased):
            await task.result()
    await serving
    assert len(gate.cancelled) == 1
    thread.go.set()


async def test_a_stop_at_once_hands_everything_back(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake)
    worker.step("gate")(gate)
    serving = asyncio.create_task(worker.serve())
    task = fake.send_task("gate")
    await gate.has_started(1)
    worker.stop()
    worker.stop(now=True)
    with pytest.raises(TaskReleased):
        await task.result()
    await serving
    assert len(gate.cancelled) == 1


async def test_cancelling_serve_hands_everything_back(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake)
    worker.step("gate")(gate)
    serving = asyncio.create_task(worker.serve())
    task = fake.send_task("gate")
    await gate.has_started(1)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(TaskReleased):
        await task.result()
    assert len(fake.of("goodbye")) == 1


async def test_a_stop_without_a_coordinator_ends_at_once(fake: FakeTransport, clock: ManualClock) -> None:
    fake.refuse = Unavailable("nobody there")
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    serving = asyncio.create_task(worker.serve())
    await fake.until(lambda: len(fake.of("hello")) == 1)
    worker.stop()
    await serving


async def test_a_stop_before_serve_is_heard(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    worker.stop()
    await worker.serve()
    assert fake.grants == []


async def test_a_flow_of_another_shape_ends_the_worker_with_the_remedy(fake: FakeTransport) -> None:
    def refuse(_request: object) -> object:
        raise AlreadyExists("flow etl differs: …", code="ALREADY_EXISTS", reason="FLOW_EXISTS")

    fake.answer("CreateFlow", refuse)
    flow = Flow("etl")
    flow.step(slug="a")(lambda input: 1)
    with pytest.raises(AlreadyExists) as error:
        await Worker(flow, transport=fake).serve()
    assert "new_version=True" in error.value.__notes__[0]
    assert fake.streams == []


async def test_registering_waits_for_a_coordinator_and_can_be_stopped(fake: FakeTransport, clock: ManualClock) -> None:
    def refuse(_request: object) -> object:
        raise Unavailable("nobody there", code="UNAVAILABLE")

    fake.answer("CreateFlow", refuse)
    flow = Flow("etl")
    flow.step(slug="a")(lambda input: 1)
    worker = Worker(flow, transport=fake, clock=clock)
    serving = asyncio.create_task(worker.serve())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not serving.done()
    worker.stop()
    await serving
    assert fake.streams == []
