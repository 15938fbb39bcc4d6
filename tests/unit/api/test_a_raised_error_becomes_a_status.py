"""The interceptor around a real server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from stepgres.v1 import flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2, worker_pb2_grpc
from stepgres_service.api.interceptors import RpcInterceptor
from stepgres_service.errors import InvalidArgument, NotFound, Reason, ResourceExhausted, StepgresError, Violation
from tests.support.rpc import details_of, reason_of, violations_of


class Behavior:
    """What the rpcs of a test do."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.closed = asyncio.Event()


class Flows(flow_pb2_grpc.FlowServiceServicer):
    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior

    async def GetFlow(self, request: Any, context: Any) -> flow_pb2.GetFlowResponse:
        if self._behavior.error:
            raise self._behavior.error
        return flow_pb2.GetFlowResponse(versions=[1])

    async def DeleteFlow(self, request: Any, context: Any) -> flow_pb2.DeleteFlowResponse:
        await context.abort(grpc.StatusCode.DATA_LOSS, "the handler's own")
        raise AssertionError


class Runs(run_pb2_grpc.RunServiceServicer):
    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[run_pb2.WatchRunResponse]:
        try:
            yield run_pb2.WatchRunResponse(cursor="1")
            if self._behavior.error:
                raise self._behavior.error
            await asyncio.Event().wait()
        finally:
            self._behavior.closed.set()


class Workers(worker_pb2_grpc.WorkerServiceServicer):
    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior

    async def Work(self, requests: Any, context: Any) -> AsyncIterator[worker_pb2.WorkResponse]:
        try:
            async for _ in requests:
                if self._behavior.error:
                    raise self._behavior.error
                yield worker_pb2.WorkResponse(pong=worker_pb2.Pong())
        finally:
            self._behavior.closed.set()


@pytest.fixture
def behavior() -> Behavior:
    return Behavior()


@pytest.fixture
async def channel(behavior: Behavior) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[RpcInterceptor()], options=[("grpc.so_reuseport", 0)])
    flow_pb2_grpc.add_FlowServiceServicer_to_server(Flows(behavior), server)
    run_pb2_grpc.add_RunServiceServicer_to_server(Runs(behavior), server)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(Workers(behavior), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


async def refused_get(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await flow_pb2_grpc.FlowServiceStub(channel).GetFlow(flow_pb2.GetFlowRequest())
    return caught.value


async def test_a_unary_call_gets_code_reason_and_path(channel, behavior):
    behavior.error = InvalidArgument(Violation("flow", Reason.INVALID_SLUG, "is `1`; begin it with a letter"))

    error = await refused_get(channel)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "flow: is `1`; begin it with a letter"
    assert reason_of(error) == "INVALID_SLUG"
    assert violations_of(error) == {"flow": "is `1`; begin it with a letter"}


async def test_the_longest_status_still_arrives(channel, behavior):
    behavior.error = InvalidArgument(
        *[Violation(f"steps[{i}].slug", Reason.INVALID_SLUG, "\u00e9\x00" * 3000) for i in range(2000)]
    )

    error = await refused_get(channel)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "steps[0].slug" in violations_of(error)


async def test_a_message_in_any_alphabet_arrives_whole(channel, behavior):
    behavior.error = NotFound(
        "flow: \u6d41\u308c \u201cx\u201d\n50 % of it", reason=Reason.FLOW_NOT_FOUND, field="flow"
    )

    error = await refused_get(channel)

    assert error.details() == "flow: \u6d41\u308c \u201cx\u201d\n50 % of it"
    assert reason_of(error) == "FLOW_NOT_FOUND"


async def test_a_stream_of_responses_gets_it_after_what_was_sent(channel, behavior):
    behavior.error = NotFound("gone", reason=Reason.RUN_NOT_FOUND)
    call = run_pb2_grpc.RunServiceStub(channel).WatchRun(run_pb2.WatchRunRequest())

    assert (await call.read()).cursor == "1"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(caught.value) == "RUN_NOT_FOUND"


async def test_a_worker_stream_gets_it_too(channel, behavior):
    behavior.error = ResourceExhausted("full", reason=Reason.TOO_MANY_RESULTS, retry_after_s=1.5)
    call = worker_pb2_grpc.WorkerServiceStub(channel).Work()
    await call.write(worker_pb2.WorkRequest())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(caught.value) == "TOO_MANY_RESULTS"
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in details_of(caught.value).details)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert behavior.closed.is_set()


@pytest.mark.parametrize("error", [ValueError("password=hunter2"), StepgresError("42P01: secret table")])
async def test_a_fault_of_ours_shows_an_id_and_keeps_its_text_in_the_log(channel, behavior, error):
    behavior.error = error

    with structlog.testing.capture_logs() as lines:
        refused = await refused_get(channel)

    assert refused.code() is grpc.StatusCode.INTERNAL
    assert reason_of(refused) == "INTERNAL"
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert line["fault"] in (refused.details() or "")
    assert line["exc_info"] is error
    assert "hunter2" not in str(details_of(refused)) + str(refused.details())
    assert "secret" not in str(details_of(refused)) + str(refused.details())


async def test_what_a_handler_aborts_with_stays(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await flow_pb2_grpc.FlowServiceStub(channel).DeleteFlow(flow_pb2.DeleteFlowRequest())

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "the handler's own")


async def test_a_generator_is_closed_when_its_caller_goes(channel, behavior):
    call = run_pb2_grpc.RunServiceStub(channel).WatchRun(run_pb2.WatchRunRequest())
    await call.read()

    call.cancel()

    async with asyncio.timeout(5):
        await behavior.closed.wait()


async def test_an_unknown_method_is_unimplemented(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/stepgres.v1.FlowService/Nonsense")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_handler_that_writes_by_itself_still_streams(channel):
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="x"))

    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


@pytest.mark.parametrize("given", ["order-17", None])
async def test_the_request_id_comes_back(channel, given):
    metadata = (("x-request-id", given),) if given else ()
    call = flow_pb2_grpc.FlowServiceStub(channel).GetFlow(flow_pb2.GetFlowRequest(), metadata=metadata)
    await call

    [returned] = [value for key, value in await call.trailing_metadata() if key == "x-request-id"]

    assert returned == given if given else len(returned) == 16


async def test_a_request_id_that_could_break_a_log_is_replaced(channel):
    call = flow_pb2_grpc.FlowServiceStub(channel).GetFlow(
        flow_pb2.GetFlowRequest(), metadata=(("x-request-id", "x" * 129),)
    )
    await call

    assert dict(await call.trailing_metadata())["x-request-id"] != "x" * 129


async def test_a_refusal_carries_the_request_id_and_a_stream_has_it_at_once(channel, behavior):
    call = run_pb2_grpc.RunServiceStub(channel).WatchRun(
        run_pb2.WatchRunRequest(), metadata=(("x-request-id", "watch-1"),)
    )
    assert dict(await call.initial_metadata())["x-request-id"] == "watch-1"
    call.cancel()

    behavior.error = NotFound("gone")
    assert dict((await refused_get(channel)).trailing_metadata())["x-request-id"]
