"""Races and refusals that a worker meets once in a long while."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepgres.v1 import worker_pb2
from stepgres_worker import Context, Unavailable, Worker, _threads
from stepgres_worker._errors import request_error
from stepgres_worker.testing import FakeTask, FakeTransport, ManualClock
from tests.unit.sdk.gates import Gate


async def test_stopping_in_the_middle_of_the_handshake_still_says_goodbye(fake: FakeTransport) -> None:
    hello, asked = fake._hello, asyncio.Event()
    held: list[Any] = []

    def late(*call: Any) -> None:
        held.append(call)
        asked.set()

    fake._hello = late  # type: ignore[method-assign]
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    serving = asyncio.create_task(worker.serve())
    await asked.wait()
    worker.stop()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not serving.done()
    hello(*held[0])
    await serving
    assert len(fake.of("goodbye")) == 1


async def test_a_handshake_that_fails_while_stopping_ends_the_worker(fake: FakeTransport) -> None:
    asked, held = asyncio.Event(), list[Any]()

    def late(stream: Any, message: Any) -> None:
        held.append(stream)
        asked.set()

    fake._hello = late  # type: ignore[method-assign]
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    serving = asyncio.create_task(worker.serve())
    await asked.wait()
    worker.stop()
    for _ in range(20):
        await asyncio.sleep(0)
    held[0].end(Unavailable("gone", code="UNAVAILABLE"))
    await serving
    assert len(fake.streams) == 1


async def test_tasks_that_come_while_a_move_fails_are_executed(fake: FakeTransport, clock: ManualClock) -> None:
    gate = Gate()
    worker = Worker(transport=fake, clock=clock, concurrency=2)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        first = fake.stream
        await fake.until(lambda: first.credits == 2)
        hello = fake._hello
        late: list[FakeTask] = []

        def refuse(stream: Any, message: Any) -> None:
            # A coordinator that handed a task out just before it told of its drain; the next one is full.
            first.credits = 1
            late.append(fake.send_task("gate", "late"))
            refusal = request_error("RESOURCE_EXHAUSTED", "too many streams", reason="TOO_MANY_STREAMS")
            asyncio.get_running_loop().call_later(0.01, stream.end, refusal)  # after the task has arrived
            fake._hello = hello  # type: ignore[method-assign]

        fake._hello = refuse  # type: ignore[method-assign]
        fake.drain()
        await gate.has_started(1)
        assert gate.started == ["late"]
        gate.open()
        await clock.advance(1)
        await fake.until(lambda: len(fake.of("hello")) == 3 and not fake.leased)
    assert gate.started == ["late"]
    assert late[0].lease_seq == 1


async def test_a_silent_coordinator_is_named_as_such(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    hello, asked = fake._hello, asyncio.Event()

    def ignore(*call: Any) -> None:
        asked.set()
        fake._hello = hello  # type: ignore[method-assign]

    fake._hello = ignore  # type: ignore[method-assign]
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    serving = asyncio.create_task(worker.serve())
    await asked.wait()
    await clock.advance(11)
    await clock.advance(1)
    await worker.wait_ready()
    assert "the coordinator did not answer Hello within 10 s. Trying again until one answers." in caplog.text
    worker.stop()
    await serving


async def test_progress_that_is_no_text_spoils_nothing(fake: FakeTransport, clock: ManualClock) -> None:
    told, go = asyncio.Event(), asyncio.Event()
    worker = Worker(transport=fake, clock=clock)

    @worker.step("h")
    async def handler(input: Any, ctx: Context) -> int:
        ctx.progress(0.5, "half \ud800 way\0")
        told.set()
        await go.wait()
        return 1

    async with fake.serving(worker):
        task = fake.send_task("h")
        await told.wait()
        await clock.advance(2)
        await fake.until(lambda: task.token in fake.progress)
        assert fake.progress[task.token] == (0.5, "half ? way ")
        go.set()
        assert await task.result() == 1


async def test_frames_that_cannot_be_made_open_another_stream(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        worker._session.progress(b"t", "half", "way")  # type: ignore[arg-type]
        worker._session.leases[b"t"] = object()  # type: ignore[assignment]
        await clock.advance(2)
        del worker._session.leases[b"t"]
        await clock.advance(1)
        await fake.until(lambda: len(fake.of("hello")) == 2)
        assert await fake.run_task("one") == 1


async def test_the_watchdog_learns_the_lease(fake: FakeTransport) -> None:
    fake.welcome.lease_ms = 600
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        assert worker._watchdog.limit_s == 0.2


async def test_threads_that_the_system_refuses_are_asked_for_again(
    fake: FakeTransport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = 0

    class Scarce(threading.Thread):
        def start(self) -> None:
            nonlocal refused
            if refused < 3 and self.name.startswith("stepgres-handler"):
                refused += 1
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(_threads.threading, "Thread", Scarce)
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        assert await fake.run_task("one") == 1
    assert refused == 3
    assert caplog.text.count("no thread for synchronous handlers: can't start new thread; trying again") == 1


async def test_run_inputs_that_were_pushed_out_on_their_way_are_not_counted(
    fake: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepgres_worker._host._INPUTS", 1)
    worker = Worker(transport=fake)

    @worker.step("h")
    async def handler(input: Any, ctx: Context) -> Any:
        return await ctx.run_input()

    async with fake.serving(worker):
        answers = [asyncio.Event(), asyncio.Event()]
        host, call = worker._host, worker._host._client.call

        async def slow(rpc: Any, request: Any, **options: Any) -> worker_pb2.GetRunInputResponse:
            if answers[0].is_set():
                return await call(rpc, request, **options)  # type: ignore[no-any-return]
            answers[0].set()
            await answers[1].wait()
            return await call(rpc, request, **options)  # type: ignore[no-any-return]

        monkeypatch.setattr(host._client, "call", slow)
        first = fake.send_task("h", {"item": 0, "index": 0}, run_input="first", is_map=True)
        await answers[0].wait()
        assert await fake.run_task("h", {"item": 0, "index": 0}, run_input="second", is_map=True) == "second"
        answers[1].set()
        assert await first.result() == "first"
        assert host._input_bytes == len('"second"')
        assert len(host._inputs) == 1


async def test_tries_are_frequent_while_the_session_can_be_resumed_and_seldom_then(
    fake: FakeTransport, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepgres_worker._worker.random.random", lambda: 1.0)
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.refuse = request_error("UNAVAILABLE", "connect: Connection refused (111)", target="db:1")
        fake.disconnect()
        tried = []
        for seconds in (15, 60):
            before = len(fake.streams)
            for _ in range(seconds):
                await clock.advance(1)
            tried.append(len(fake.streams) - before)
        assert tried[0] >= 15  # the lease: several in each grace
        assert tried[1] <= 8
        fake.refuse = None
        await clock.advance(10)
