"""A result is kept until its ack, whatever happens to the stream."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stepgres.v1 import worker_pb2
from stepgres_worker import InvalidArgument, StepgresError, Unavailable, Worker
from stepgres_worker.testing import FakeTransport, ManualClock
from tests.unit.sdk.gates import Gate


def results(fake: FakeTransport) -> list[bytes]:
    """Tokens of all results sent, in order."""
    return [result.token for batch in fake.of("result_batch") for result in batch.results]


async def test_a_result_without_its_ack_is_sent_again_on_the_next_stream(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.hold_acks()
        task = fake.send_task("one")
        assert await task.result() == 1
        token = results(fake)[0]
        fake.disconnect()
        await fake.until(lambda: len(results(fake)) == 2)
        assert results(fake) == [token, token]
        first, second = fake.of("hello")
        assert (first.session_id, list(second.held_tokens)) == (b"", [token])
        assert second.session_id != b""
        assert first.instance_id == second.instance_id
        fake.release_acks()
    assert len(task.results) == 1  # the second one was a duplicate


async def test_tasks_go_on_while_the_stream_is_away(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=4)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        tasks = [fake.send_task("gate", index) for index in range(4)]
        await gate.has_started(4)
        fake.refuse = Unavailable("not yet")
        fake.disconnect()
        gate.one()
        gate.one()
        await fake.until(lambda: len(fake.of("hello")) >= 2)
        fake.refuse = None
        gate.open()
        assert [await task.result() for task in tasks] == [0, 1, 2, 3]
        assert set(fake.of("hello")[-1].held_tokens) == {task.token for task in tasks}
        assert gate.cancelled == []
    assert all(task.lease_seq == 1 for task in tasks)


async def test_credits_begin_anew_on_each_stream(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake, concurrency=4)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        fake.send_task("gate")
        await gate.has_started(1)
        fake.disconnect()
        await fake.until(lambda: len(fake.grants) == 2)
        assert fake.grants == [4, 3]
        gate.open()


async def test_a_session_that_ended_takes_its_tasks_along(fake: FakeTransport) -> None:
    gate = Gate()
    worker = Worker(transport=fake)
    worker.step("gate")(gate)
    async with fake.serving(worker):
        task = fake.send_task("gate")
        await gate.has_started(1)
        fake.expire_session()
        fake.disconnect()
        await gate.has_cancelled(1)
        await gate.has_started(2)  # handed out again, under another token
        gate.open()
        await task.result()
    assert task.lease_seq == 2
    assert len(results(fake)) == 1


async def test_busy_is_answered_later_with_the_same_result(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.busy(2000, 3000)
        task = fake.send_task("one")
        await fake.until(lambda: len(results(fake)) == 1)
        await clock.advance(1.9)
        assert len(results(fake)) == 1
        await clock.advance(0.2)
        assert len(results(fake)) == 2
        await clock.advance(3.0)
        assert await task.result() == 1
    assert results(fake) == [task.token] * 3


async def test_a_new_stream_does_not_wait_for_busy(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.busy(60_000)
        task = fake.send_task("one")
        await fake.until(lambda: len(results(fake)) == 1)
        fake.disconnect()
        await clock.advance(1)
        assert await task.result() == 1
        await clock.advance(60)
        assert len(results(fake)) == 2  # the old timer sends nothing more


async def test_stale_and_duplicate_are_final_and_quiet(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    worker = Worker(transport=fake)
    worker.step("gate")(gate)
    caplog.set_level(logging.WARNING, logger="stepgres_worker")
    async with fake.serving(worker):
        task = fake.send_task("gate")
        await gate.has_started(1)
        fake._leased.clear()  # the coordinator has given it away, and the worker has not heard yet
        gate.open()
        await fake.until(lambda: len(fake.acks) == 1)
        fake.disconnect()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        assert list(fake.of("hello")[1].held_tokens) == []
    assert fake.acks[0].verdict == worker_pb2.ACK_VERDICT_STALE
    assert results(fake) == [task.token]
    assert [record for record in caplog.records if "refused" in record.message] == []


async def test_a_refused_result_is_final_and_told(fake: FakeTransport, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.hold_acks()
        task = fake.send_task("one")
        await task.result()
        ack = worker_pb2.Ack(
            token=task.token, verdict=worker_pb2.ACK_VERDICT_REJECTED, reason=7, message="output: not JSON"
        )
        fake.stream.send(ack_batch=worker_pb2.AckBatch(acks=[ack]))
    assert "INVALID_JSON: output: not JSON" in caplog.text


async def test_verdicts_and_reasons_of_a_later_version_are_final(
    fake: FakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        fake.hold_acks()
        task = fake.send_task("one")
        await task.result()
        ack = worker_pb2.Ack(token=task.token, verdict=99, reason=9999, message="of tomorrow")  # type: ignore[arg-type]
        fake.stream.send(ack_batch=worker_pb2.AckBatch(acks=[ack]))
        await fake.until(lambda: "REASON_9999: of tomorrow" in caplog.text)
        fake.disconnect()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        assert not fake.of("hello")[-1].held_tokens
    assert results(fake) == [task.token]


async def test_acks_for_unknown_tokens_change_nothing(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        ack = worker_pb2.Ack(token=b"never seen", verdict=worker_pb2.ACK_VERDICT_RECORDED)
        fake.stream.send(ack_batch=worker_pb2.AckBatch(acks=[ack]))
        assert await fake.run_task("one") == 1


async def test_frames_are_cut_by_count_and_by_size() -> None:
    fake = FakeTransport(max_frame_bytes=10_000)
    worker = Worker(transport=fake, concurrency=2_000)

    @worker.step("small")
    async def small(input: Any) -> int:
        return 1

    @worker.step("large")
    async def large(input: Any) -> str:
        return "x" * (30_000 if input == 0 else 4_000)

    tasks = [fake.send_task("small") for _ in range(1_200)]
    async with fake.serving(worker):
        for task in tasks:
            await task.result()
        sizes = [len(batch.results) for batch in fake.of("result_batch")]
        assert sum(sizes) == 1_200
        assert max(sizes) <= 500
        fake.frames.clear()
        tasks = [fake.send_task("large", index) for index in range(5)]
        for task in tasks:
            await task.result()
    batches = fake.of("result_batch")
    # One that is larger than a frame travels alone; the others two by two.
    assert sum(len(batch.results) for batch in batches) == 5
    assert all(batch.ByteSize() <= 10_000 or len(batch.results) == 1 for batch in batches)
    assert len(batches) == 3


async def test_no_answer_for_a_whole_lease_opens_another_stream(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        await clock.advance(60)  # nothing to answer: silence is fine
        assert len(fake.streams) == 1
        fake.hold_acks()
        await fake.send_task("one").result()
        await clock.advance(14)
        assert len(fake.streams) == 1
        await clock.advance(4)
        assert len(fake.streams) == 2
        fake.release_acks()


async def test_a_coordinator_that_is_away_is_tried_until_it_is_there(fake: FakeTransport, clock: ManualClock) -> None:
    fake.refuse = Unavailable("nobody there")
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)

    async def come_back() -> None:
        await fake.until(lambda: len(fake.of("hello")) == 1)
        for _ in range(6):
            await clock.advance(10)
        fake.refuse = None
        await clock.advance(10)

    back = asyncio.create_task(come_back())
    async with fake.serving(worker):
        await back
        assert await fake.run_task("one") == 1
    assert len(fake.streams) > 5


async def test_a_refusal_of_hello_ends_the_worker(fake: FakeTransport) -> None:
    fake.refuse = InvalidArgument("handler: bad name", code="INVALID_ARGUMENT", reason="INVALID_HANDLER")
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    with pytest.raises(InvalidArgument, match="bad name"):
        await worker.serve()
    assert all(stream.ended for stream in fake.streams)


async def test_no_welcome_within_ten_seconds_is_a_failed_try(fake: FakeTransport, clock: ManualClock) -> None:
    worker = Worker(transport=fake, clock=clock)
    worker.step("one")(lambda input: 1)
    silent = fake._hello
    fake._hello = lambda stream, hello: None  # type: ignore[method-assign]
    serving = asyncio.create_task(worker.serve())
    await fake.until(lambda: len(fake.of("hello")) == 1)
    fake._hello = silent  # type: ignore[method-assign]
    await clock.advance(9)
    assert len(fake.streams) == 1
    await clock.advance(11)
    await worker.wait_ready()
    assert await fake.run_task("one") == 1
    worker.stop()
    await serving


async def test_an_error_of_any_kind_breaks_only_the_stream(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        for error in (None, StepgresError("odd"), Unavailable("gone")):
            fake.stream.end(error)
            assert await fake.run_task("one") == 1
