"""A worker whose bytes are no frame is told so; it is no fault of the coordinator."""

from __future__ import annotations

import grpc
import pytest
from structlog.testing import capture_logs

from stepgres.v1 import worker_pb2
from tests.support.rpc import reason_of, violations_of

HELLO = worker_pb2.WorkRequest(
    hello=worker_pb2.Hello(
        worker="w",
        instance_id=b"0123456789abcdef",
        min_protocol_version=1,
        max_protocol_version=1,
        subscriptions=[worker_pb2.Subscription(handlers=[worker_pb2.Handler(name="h")])],
    )
).SerializeToString()


async def to_the_end(call: grpc.aio.StreamStreamCall) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize("before", [[], [HELLO]], ids=["in place of Hello", "after Hello"])
async def test_a_frame_that_cannot_be_read(channel: grpc.aio.Channel, before: list[bytes]) -> None:
    open_stream = channel.stream_stream(
        "/stepgres.v1.WorkerService/Work",
        request_serializer=None,
        response_deserializer=worker_pb2.WorkResponse.FromString,
    )
    with capture_logs() as lines:
        call = open_stream(timeout=10)
        for frame in before:
            await call.write(frame)
            assert (await call.read()).HasField("welcome")
        await call.write(b"\xff\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await to_the_end(call)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refusal.value) == "FIELD_INVALID"
    assert "; send that message" in violations_of(refusal.value)[""]
    assert [line for line in lines if "exc_info" in line] == []
