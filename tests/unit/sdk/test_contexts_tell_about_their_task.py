"""What `ctx` knows and does."""

from __future__ import annotations

import asyncio
import datetime
import logging
import uuid
from typing import Any

import pytest

from stepgres_worker import AsyncClient, Client, Context, NotFound, TaskError, Worker
from stepgres_worker.testing import FakeTransport, ManualClock
from tests.unit.sdk.gates import Gate


async def test_it_knows_the_task(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    seen: dict[str, Any] = {}

    @worker.step("charge")
    async def charge(input: Any, ctx: Context) -> None:
        seen.update(
            {name: getattr(ctx, name) for name in ("run_id", "flow", "version", "step", "index", "attempt", "handler")}
        )
        seen.update(params=ctx.params, key=ctx.idempotency_key, scope=ctx.scope, left=ctx.remaining_s)
        seen.update(deadline=ctx.deadline, cancelled=ctx.cancelled, text=repr(ctx))

    run_id = str(uuid.uuid4())
    async with fake.serving(worker):
        await fake.run_task(
            "charge",
            run_id=run_id,
            flow="shop",
            step="pay",
            index=3,
            attempt=2,
            params={"account": 2**60 + 1},
            timeout_s=40,
            is_map=True,
        )
    left = seen["deadline"] - datetime.datetime.now(datetime.UTC)
    assert 30 < left.total_seconds() <= 40
    del seen["deadline"]
    assert seen == {
        "run_id": run_id,
        "flow": "shop",
        "version": 1,
        "step": "pay",
        "index": 3,
        "attempt": 2,
        "handler": "charge",
        "params": {"account": 2**60 + 1},
        "key": f"{run_id}:pay:3",
        "scope": "",
        "left": 40,
        "cancelled": False,
        "text": f"Context('{run_id}:pay:3', attempt=2)",
    }


async def test_params_are_empty_by_default(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("p")(lambda input, ctx: ctx.params)
    async with fake.serving(worker):
        assert await fake.run_task("p") == {}


async def test_progress_goes_out_once_a_second_with_the_last_word(fake: FakeTransport, clock: ManualClock) -> None:
    gate = Gate()
    worker = Worker(transport=fake, clock=clock)

    @worker.step("work")
    async def work(input: Any, ctx: Context) -> None:
        for done in range(100):
            ctx.progress(done / 100, f"{done} of 100")
        await gate(input)
        ctx.progress(7.5, "x" * 500 + "\0")
        await gate(input)

    async with fake.serving(worker):
        task = fake.send_task("work")
        await gate.has_started(1)
        assert fake.of("heartbeat") == []
        await clock.advance(1)
        assert len(fake.of("heartbeat")) == 1
        assert fake.progress[task.token] == (pytest.approx(0.99), "99 of 100")
        gate.one()
        await gate.has_started(2)
        await clock.advance(1)
        assert fake.progress[task.token] == (1.0, "x" * 200)
        gate.open()
        await task.result()


async def test_threads_report_progress_too(fake: FakeTransport, clock: ManualClock) -> None:
    gate = Gate()
    worker = Worker(transport=fake, clock=clock)

    @worker.step("work")
    def work(input: Any, ctx: Context) -> Any:
        ctx.progress(-1)
        ctx.progress(0.5, "half")
        return gate(input)  # a coroutine: awaited on the loop

    async with fake.serving(worker):
        task = fake.send_task("work")
        await gate.has_started(1)
        await clock.advance(1)
        assert fake.progress[task.token] == (0.5, "half")
        gate.open()
        await task.result()


async def test_a_heartbeat_goes_out_when_nothing_else_does(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        await clock.advance(3.5)
        assert fake.of("heartbeat") == []
        await clock.advance(1.5)
        assert len(fake.of("heartbeat")) == 1
        await clock.advance(4)
        assert len(fake.of("heartbeat")) == 2
        fake.ping()
        await fake.until(lambda: len(fake.of("heartbeat")) == 3)


async def test_the_run_input_is_asked_for_once_per_run(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)

    @worker.step("loop")
    async def loop(input: Any, ctx: Context) -> Any:
        value = await ctx.run_input()
        value["mine"] = input["index"]  # each handler has a copy of its own
        return value

    @worker.step("thread")
    def thread(input: Any, ctx: Context) -> Any:
        return ctx.run_input()

    async with fake.serving(worker):
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        tasks = [
            fake.send_task(name, {"item": 0, "index": i}, run_id=run, run_input={"of": run}, is_map=True)
            for i, run in enumerate([first, first, second, first])
            for name in ("loop", "thread")
        ]
        outputs = [await task.result() for task in tasks]
    assert outputs[0::2] == [{"of": run, "mine": i} for i, run in enumerate([first, first, second, first])]
    assert outputs[1::2] == [{"of": run} for run in [first, first, second, first]]
    assert [name for name, _ in fake.calls] == ["GetRunInput", "GetRunInput"]


async def test_a_single_step_has_the_run_input_at_hand(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)

    @worker.step("single")
    async def single(input: Any, ctx: Context) -> Any:
        return await ctx.run_input()

    async with fake.serving(worker):
        assert await fake.run_task("single", {"run": [2**70], "dep": 1}) == [2**70]
    assert fake.calls == []


async def test_a_run_input_that_was_refused_is_asked_for_again(fake: FakeTransport) -> None:
    answers = [NotFound("gone", code="NOT_FOUND", reason="INVALID_TOKEN")]
    real = fake._answers["GetRunInput"]

    def answer(request: Any) -> Any:
        if answers:
            raise answers.pop()
        return real(request)

    fake.answer("GetRunInput", answer)
    worker = Worker(transport=fake)

    @worker.step("loop")
    async def loop(input: Any, ctx: Context) -> Any:
        try:
            return await ctx.run_input()
        except NotFound as error:
            raise TaskError(error.reason) from error

    async with fake.serving(worker):
        run_id = str(uuid.uuid4())
        task = fake.send_task("loop", run_id=run_id, run_input=[1], is_map=True)
        assert (await task.outcome()).failed.message == "INVALID_TOKEN"
        assert await fake.run_task("loop", run_id=run_id, run_input=[1], is_map=True) == [1]


async def test_a_cancelled_handler_does_not_take_the_run_input_from_the_others(
    fake: FakeTransport, clock: ManualClock
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    real = fake.call

    async def slow(rpc: Any, request: Any, *, timeout_s: float) -> Any:
        asked.set()
        await answer.wait()
        return await real(rpc, request, timeout_s=timeout_s)

    fake.call = slow  # type: ignore[method-assign]
    worker = Worker(transport=fake, clock=clock)

    @worker.step("loop")
    async def loop(input: Any, ctx: Context) -> Any:
        return await ctx.run_input()

    async with fake.serving(worker):
        run_id = str(uuid.uuid4())
        first = fake.send_task("loop", run_id=run_id, run_input=[1], is_map=True, timeout_s=1)
        await asked.wait()
        second = fake.send_task("loop", run_id=run_id, run_input=[1], is_map=True, timeout_s=60)
        await fake.until(lambda: fake.leased == 2)
        await clock.advance(2)
        assert (await first.outcome()).failed.code == "TIMEOUT"
        answer.set()
        # Asked for with the first one's token, which is not leased any more: the second asks with its own.
        assert await second.result() == [1]
        assert [request.token for name, request in fake.calls] == [first.token, second.token]


async def test_its_log_carries_the_coordinates(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stepgres.task")
    worker = Worker(transport=fake)

    @worker.step("shop.pay")
    def pay(input: Any, ctx: Context) -> None:
        ctx.log.info("paid %s", 3, extra={"amount": 3})

    async with fake.serving(worker):
        task = fake.send_task("shop.pay", index=4)
        await task.result()
    (record,) = [record for record in caplog.records if record.name == "stepgres.task"]
    values = vars(record)
    assert (record.getMessage(), values["flow"], values["step"], values["amount"]) == ("paid 3", "shop", "pay", 3)
    assert (values["run_id"], values["task_index"], values["attempt"]) == (task.message.run_id, 4, 1)


async def test_its_client_fits_the_handler(fake: FakeTransport) -> None:
    fake.answer("CancelRun", lambda request: _cancelled())
    worker = Worker(transport=fake)

    @worker.step("loop")
    async def loop(input: Any, ctx: Context) -> bool:
        assert isinstance(ctx.client, AsyncClient)
        return await ctx.client.cancel_run("some-run")

    @worker.step("thread")
    def thread(input: Any, ctx: Context) -> bool:
        assert isinstance(ctx.client, Client)
        return ctx.client.cancel_run("some-run")

    async with fake.serving(worker):
        assert await fake.run_task("loop") is True
        assert await fake.run_task("thread") is True


def _cancelled() -> Any:
    from stepgres.v1 import run_pb2

    return run_pb2.CancelRunResponse(cancelled=True)
