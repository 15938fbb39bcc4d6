"""The plain life of a task: input in, output out."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from typing import Any

import pytest

from stepgres_worker import Flow, Worker
from stepgres_worker.testing import FakeTransport, TaskReleased


async def test_flow_functions_are_served_under_the_names_of_their_steps(fake: FakeTransport) -> None:
    flow = Flow("etl")

    @flow.step
    def fetch(input: Any) -> list[int]:
        return [1, 2, 3]

    @flow.map(over=fetch)
    async def double(input: Any) -> int:
        return int(input["item"]) * 2

    async with fake.serving(Worker(flow, transport=fake)):
        assert await fake.run_task("etl.fetch") == [1, 2, 3]
        assert await fake.run_task("etl.double", {"item": 21, "index": 0}, is_map=True) == 42
    (hello,) = fake.of("hello")
    (subscription,) = hello.subscriptions
    assert [handler.name for handler in subscription.handlers] == ["etl.fetch", "etl.double"]
    assert subscription.scope == ""


async def test_flows_are_registered_before_hello(fake: FakeTransport) -> None:
    flow = Flow("etl", max_attempts=5)
    flow.step(slug="a")(lambda input: 1)
    async with fake.serving(Worker(flow, transport=fake)):
        pass
    name, request = fake.calls[0]
    assert (name, request.slug, request.max_attempts, [s.slug for s in request.steps]) == (
        "CreateFlow",
        "etl",
        5,
        ["a"],
    )


async def test_a_handler_of_any_kind_of_callable_works(fake: FakeTransport) -> None:
    class Callable:
        async def __call__(self, input: Any) -> str:
            return "async object"

        def method(self, input: Any) -> str:
            return "method"

        @staticmethod
        async def static(prefix: str, input: Any) -> str:
            return prefix

    worker = Worker(transport=fake)
    worker.step("object")(Callable())
    worker.step("method")(Callable().method)
    worker.step("partial")(functools.partial(Callable.static, "partial"))
    worker.step("lambda_of_coroutine")(lambda input: Callable.static("made in a thread", input))
    worker.step("builtin")(len)
    async with fake.serving(worker):
        assert await fake.run_task("object") == "async object"
        assert await fake.run_task("method") == "method"
        assert await fake.run_task("partial") == "partial"
        assert await fake.run_task("lambda_of_coroutine") == "made in a thread"
        assert await fake.run_task("builtin", [1, 2]) == 2


@pytest.mark.parametrize("suspends", [False, True])
async def test_each_task_has_context_variables_of_its_own(fake: FakeTransport, suspends: bool) -> None:
    seen: contextvars.ContextVar[Any] = contextvars.ContextVar("seen", default="nothing")
    worker = Worker(transport=fake)

    @worker.step("mark")
    async def mark(input: Any) -> Any:
        before = seen.get()
        seen.set(input)
        if suspends:
            await asyncio.sleep(0)
        assert seen.get() == input
        return before

    @worker.step("mark_sync")
    def mark_sync(input: Any) -> Any:
        before = seen.get()
        seen.set(input)
        return before

    async with fake.serving(worker):
        tasks = [fake.send_task(name, index) for index in range(20) for name in ("mark", "mark_sync")]
        assert [await task.result() for task in tasks] == ["nothing"] * 40


async def test_a_handler_runs_in_one_asyncio_task_from_its_first_step_to_its_last(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)

    @worker.step("ask")
    async def ask(input: Any) -> bool:
        first = asyncio.current_task()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return first is asyncio.current_task() and first is not None

    async with fake.serving(worker):
        tasks = [fake.send_task("ask") for _ in range(20)]
        assert all([await task.result() for task in tasks])


async def test_an_inner_timeout_cancels_its_own_handler_and_no_other(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)

    @worker.step("wait")
    async def wait(input: Any) -> str:
        try:
            async with asyncio.timeout(0.001 if input == "short" else 60):
                await asyncio.sleep(0 if input == "long" else 60)
        except TimeoutError:
            return "timed out"
        return "done"

    async with fake.serving(worker):
        tasks = [fake.send_task("wait", "short" if index % 2 else "long") for index in range(10)]
        assert [await task.result() for task in tasks] == ["done", "timed out"] * 5


async def test_a_task_for_a_handler_that_is_not_served_is_handed_back(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, concurrency=1)
    worker.step("known")(lambda input: 1)
    async with fake.serving(worker):
        with pytest.raises(TaskReleased):
            await fake.run_task("unknown")
        assert await fake.run_task("known") == 1  # its slot is free


async def test_a_worker_without_handlers_or_with_impossible_ones_says_so(fake: FakeTransport) -> None:
    with pytest.raises(ValueError, match="no handlers"):
        await Worker(transport=fake).serve()
    worker = Worker(transport=fake)
    with pytest.raises(TypeError, match=r"not \(input\) or \(input, ctx\)"):
        worker.step("none")(lambda: 1)
    with pytest.raises(TypeError, match=r"not \(input\) or \(input, ctx\)"):
        worker.step("three")(lambda a, b, c: 1)
    worker.step("one")(len)
    with pytest.raises(ValueError, match="bound to"):
        worker.step("one")(lambda input: 1)
    with pytest.raises(ValueError, match="concurrency"):
        Worker(concurrency=0)


async def test_a_second_parameter_with_a_default_is_no_context(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)

    @worker.step("retries")
    def retries(input: Any, retries: int = 3) -> int:
        return retries

    @worker.step("named")
    def named(input: Any, ctx: Any = None) -> str:
        return str(ctx.step)

    async with fake.serving(worker):
        assert await fake.run_task("retries") == 3
        assert await fake.run_task("named") == "named"


async def test_hello_describes_the_handlers(fake: FakeTransport) -> None:
    worker = Worker(transport=fake, scope="blue", name="me", reconnect_grace_s=3.5)

    @worker.step("charge", flow="shop", params_schema={"type": "object"})
    def charge(input: Any) -> None:
        """Charges a card."""

    async with fake.serving(worker):
        pass
    (hello,) = fake.of("hello")
    (subscription,) = hello.subscriptions
    (handler,) = subscription.handlers
    assert (handler.name, handler.description) == ("shop.charge", "Charges a card.")
    assert (handler.params_schema, subscription.scope, hello.worker) == (b'{"type":"object"}', "blue", "me")
    assert (hello.reconnect_grace_ms, len(hello.instance_id)) == (3500, 16)
    assert worker.handlers == ("shop.charge",)


async def test_a_worker_serves_again_after_it_stopped(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    for _ in range(2):
        async with fake.serving(worker):
            assert await fake.run_task("one") == 1
    assert len(fake.of("goodbye")) == 2
