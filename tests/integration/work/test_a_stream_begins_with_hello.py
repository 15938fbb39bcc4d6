"""What Hello must be, and what answers a Hello that is not."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from stepgres.v1 import worker_pb2
from tests.support.raw_worker import RawWorker
from tests.support.rpc import reason_of


async def test_welcome_tells_periods_and_limits(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    welcome = await worker.open(["etl.fetch"])
    assert len(welcome.session_id) == 16
    assert not welcome.resumed
    assert welcome.protocol_version == 1
    assert welcome.lease_ms > welcome.heartbeat_ms > 0
    assert welcome.max_credits > 0
    assert welcome.max_output_bytes == 1 << 20
    await worker.close()


async def test_a_first_frame_that_is_not_hello_ends_the_stream(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    worker.connect()
    worker.grant(1)
    error = await worker.ended()
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "HELLO_REQUIRED"


async def test_a_second_hello_ends_the_stream(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    await worker.open(["etl.fetch"])
    worker.send(hello=worker_pb2.Hello(worker="again"))
    error = await worker.ended()
    assert error is not None
    assert reason_of(error) == "HELLO_REPEATED"


async def test_a_protocol_version_of_the_future_is_refused(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    with pytest.raises(AssertionError):
        await worker.open(["etl.fetch"], min_protocol_version=2, max_protocol_version=3)
    assert worker.error is not None
    assert worker.error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(worker.error) == "PROTOCOL_VERSION"


@pytest.mark.parametrize(
    ("wrong", "path", "reason"),
    [
        ({"worker": ""}, "hello.worker", "FIELD_REQUIRED"),
        ({"worker": "x" * 201}, "hello.worker", "FIELD_TOO_LONG"),
        ({"worker": "a\x00b"}, "hello.worker", "NUL_CHARACTER"),
        ({"instance_id": b"short"}, "hello.instance_id", "FIELD_INVALID"),
        ({"session_id": b"short"}, "hello.session_id", "FIELD_INVALID"),
        ({"reconnect_grace_ms": -1}, "hello.reconnect_grace_ms", "FIELD_OUT_OF_RANGE"),
        ({"subscriptions": []}, "hello.subscriptions", "FIELD_REQUIRED"),
    ],
)
async def test_a_wrong_field_is_named(channel: grpc.aio.Channel, wrong: dict[str, Any], path: str, reason: str) -> None:
    worker = RawWorker(channel)
    with pytest.raises(AssertionError):
        await worker.open(["etl.fetch"], **wrong)
    assert worker.error is not None
    assert worker.error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(worker.error) == reason
    assert path in (worker.error.details() or "")


async def test_a_wrong_handler_name_is_shown(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    with pytest.raises(AssertionError):
        await worker.open(["etl.fetch", "9lives"])
    assert reason_of(worker.error) == "INVALID_HANDLER"
    assert "hello.subscriptions[0].handlers[1].name" in (worker.error.details() or "")  # type: ignore[union-attr]


async def test_unknown_frames_are_ignored(channel: grpc.aio.Channel) -> None:
    worker = RawWorker(channel)
    await worker.open(["etl.fetch"])
    worker.send()
    worker.grant(1)
    await worker.goodbye()
    assert worker.error is None
