"""`execute`: a run served by the caller, in a scope of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2
from stepgres_worker import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Flow,
    InvalidArgument,
    MissingHandlers,
    RunFailed,
    Worker,
)
from stepgres_worker.testing import FakeTransport, TaskFailed
from tests.unit.sdk.gates import Gate


class FakeRuns:
    """Just enough of a server: a flow of single steps, one run of it at a time, executed in order by its worker."""

    def __init__(self, fake: FakeTransport, handlers: dict[str, str]) -> None:
        self.fake = fake
        self.handlers = handlers
        self.started: list[run_pb2.StartRunRequest] = []
        fake.answer("GetFlow", self.get_flow)
        fake.answer("StartRun", self.start_run)
        fake.answer_watch(self.watch)

    def get_flow(self, request: flow_pb2.GetFlowRequest) -> flow_pb2.GetFlowResponse:
        steps = [
            flow_pb2.Step(definition=flow_pb2.StepDefinition(slug=slug, handler=handler))
            for slug, handler in self.handlers.items()
        ]
        return flow_pb2.GetFlowResponse(flow=flow_pb2.Flow(slug=request.flow, version=3, steps=steps))

    def start_run(self, request: run_pb2.StartRunRequest) -> run_pb2.StartRunResponse:
        self.started.append(request)
        return run_pb2.StartRunResponse(run=run_pb2.Run(run_id="run"), created=True)

    async def watch(self, _request: run_pb2.WatchRunRequest) -> AsyncGenerator[Any, None]:
        end = run_pb2.Run(run_id="run", flow="f", status=common_pb2.RUN_STATUS_COMPLETED)
        outputs = []
        for slug, handler in self.handlers.items():
            task = self.fake.send_task(handler, self.started[-1].input, flow="f", step=slug)
            try:
                outputs.append(f'"{slug}":{(await task.outcome()).completed.output.decode()}')
                await task.result()
            except TaskFailed as error:
                end.status = common_pb2.RUN_STATUS_FAILED
                end.error.CopyFrom(run_pb2.RunError(step=slug, code=error.code, message=error.message))
        if end.status == common_pb2.RUN_STATUS_COMPLETED:
            end.output = ("{" + ",".join(outputs) + "}").encode()
        yield run_pb2.WatchRunResponse(end=end, cursor="end")


async def test_a_flow_by_slug_with_functions_by_step(fake: FakeTransport) -> None:
    runs = FakeRuns(fake, {"a": "f.a", "b": "f.b"})
    client = AsyncClient(transport=fake)

    async def b(input: Any, ctx: Any) -> str:
        return str(ctx.step)

    assert await client.execute("f", {"n": 1}, {"a": lambda input: input["n"] + 1, "b": b}) == {"a": 2, "b": "b"}
    (request,) = runs.started
    (hello,) = fake.of("hello")
    (subscription,) = hello.subscriptions
    assert request.scope == subscription.scope
    assert request.version == 3
    assert len(request.scope) >= 32
    assert [handler.name for handler in subscription.handlers] == ["f.a", "f.b"]
    assert len(fake.of("goodbye")) == 1


async def test_each_execution_has_a_scope_of_its_own(fake: FakeTransport) -> None:
    runs = FakeRuns(fake, {"a": "f.a"})
    client = AsyncClient(transport=fake)
    for _ in range(2):
        await client.execute("f", None, {"a": lambda input: 1})
    first, second = (request.scope for request in runs.started)
    assert first != second


async def test_one_key_is_one_scope_so_that_a_second_caller_helps(fake: FakeTransport) -> None:
    runs = FakeRuns(fake, {"a": "f.a"})
    client = AsyncClient(transport=fake)
    for key in ("order-1", "order-1", "order-2"):
        await client.execute("f", None, {"a": lambda input: 1}, idempotency_key=key)
    first, again, other = (request.scope for request in runs.started)
    assert first == again != other
    assert [request.idempotency_key for request in runs.started] == ["order-1", "order-1", "order-2"]


async def test_a_flow_in_code_brings_its_functions(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a", "b": "lib.b"})
    flow = Flow("f")
    flow.step(slug="a")(lambda input: "flow's")
    flow.step(slug="b", handler="lib.b")(lambda input: "flow's")
    client = AsyncClient(transport=fake)
    assert await client.execute(flow) == {"a": "flow's", "b": "flow's"}
    assert await client.execute(flow, None, {"b": lambda input: "mine"}) == {"a": "flow's", "b": "mine"}
    assert fake.calls[0][0] == "CreateFlow"


async def test_shared_handlers_take_one_function(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "fetch", "b": "fetch"})
    client = AsyncClient(transport=fake)
    assert await client.execute("f", None, {"fetch": lambda input: 1}) == {"a": 1, "b": 1}
    with pytest.raises(ValueError, match="share the handler fetch"):
        await client.execute("f", None, {"a": lambda input: 1, "b": lambda input: 2})


async def test_what_is_missing_is_said_before_anything_starts(fake: FakeTransport) -> None:
    runs = FakeRuns(fake, {"a": "f.a", "b": "f.b", "c": "f.c"})
    client = AsyncClient(transport=fake)
    with pytest.raises(MissingHandlers, match=r"b, c.*Nothing was started") as error:
        await client.execute("f", None, {"a": lambda input: 1})
    assert error.value.steps == ("b", "c")
    with pytest.raises(ValueError, match=r"no step x; its steps are|no step x; .*a, b, c"):
        await client.execute("f", None, dict.fromkeys("abcx", lambda input: 1))
    assert runs.started == []
    assert fake.streams == []


async def test_a_failure_is_raised(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a"})

    def broken(input: Any) -> None:
        raise LookupError("not here")

    with pytest.raises(RunFailed, match="LookupError: not here") as failure:
        await AsyncClient(transport=fake).execute("f", None, {"a": broken})
    assert (failure.value.step, failure.value.code) == ("a", "HANDLER_ERROR")


async def test_the_time_is_bounded_and_the_task_handed_back(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a"})
    gate = Gate()
    with pytest.raises(TimeoutError, match=r"flow f: not finished within 0\.05 s; its run goes on"):
        await AsyncClient(transport=fake).execute("f", None, {"a": gate}, timeout=0.05)
    assert gate.cancelled
    assert fake.of("result_batch")[0].results[0].HasField("released")
    assert len(fake.of("goodbye")) == 1


async def test_the_deadline_of_a_call_is_not_taken_for_the_timeout(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a"})

    def late(_request: Any) -> Any:
        raise DeadlineExceeded("StartRun took too long", code="DEADLINE_EXCEEDED")

    fake.answer("StartRun", late)
    with pytest.raises(DeadlineExceeded, match="StartRun took too long"):
        await AsyncClient(transport=fake).execute("f", None, {"a": lambda input: 1}, timeout=60)


async def test_a_worker_that_is_refused_ends_the_execution(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a"})
    fake.refuse = InvalidArgument("handler: bad", code="INVALID_ARGUMENT")
    with pytest.raises(InvalidArgument, match="handler: bad"):
        await AsyncClient(transport=fake).execute("f", None, {"a": lambda input: 1})


async def test_a_flow_without_steps_needs_no_worker(fake: FakeTransport) -> None:
    FakeRuns(fake, {})
    assert await AsyncClient(transport=fake).execute("f") == {}
    assert fake.streams == []


def test_the_blocking_client_executes_too() -> None:
    fake = FakeTransport()
    with Client(transport=fake) as client:
        client.wait(_prepare(fake))
        assert client.execute("f", 20, {"a": lambda input: input + 1, "b": _double}, timeout=30) == {"a": 21, "b": 40}


async def _prepare(fake: FakeTransport) -> None:
    FakeRuns(fake, {"a": "f.a", "b": "f.b"})


async def _double(input: Any) -> int:
    await asyncio.sleep(0)
    return int(input) * 2


async def test_execution_inside_a_handler_works(fake: FakeTransport) -> None:
    """A handler may start a run of its own and wait for it; here through the client of its context."""
    inner = FakeTransport()
    FakeRuns(inner, {"a": "f.a"})
    worker = Worker(transport=fake)

    @worker.step("outer")
    async def outer(input: Any) -> Any:
        return await AsyncClient(transport=inner).execute("f", input, {"a": lambda value: value * 2})

    async with fake.serving(worker):
        assert await fake.run_task("outer", 21) == {"a": 42}
