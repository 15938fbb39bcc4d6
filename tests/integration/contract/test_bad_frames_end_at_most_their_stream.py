"""Every field of every frame that a worker sends, with every kind of bad value: it is refused by name, by its ack or with
the end of its stream, and no other stream notices."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from structlog.testing import capture_logs

from stepgres.v1 import common_pb2, worker_pb2
from tests.integration.conftest import channel_to
from tests.integration.contract.frames import FIELDS, VALID, hello
from tests.integration.contract.mutations import Case, cases_of
from tests.integration.contract.table import OK, UNREADABLE, Answer, invalid
from tests.integration.contract.test_bad_input_is_refused_by_name import Outcome, faults, refusal_of
from tests.support.flows import define, start_runs
from tests.support.raw_worker import WAIT_S, RawWorker, raw_worker

RECORDED = worker_pb2.ACK_VERDICT_RECORDED
STREAM_ENDS = Outcome()


class Stream:
    """A worker's stream that sends bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call: Any = channel.stream_stream(
            "/stepgres.v1.WorkerService/Work",
            request_serializer=None,
            response_deserializer=worker_pb2.WorkResponse.FromString,
        )(timeout=WAIT_S)

    async def send(self, frame: bytes) -> None:
        """Writes; what the coordinator thinks of it, `read` tells."""
        try:
            await self._call.write(frame)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):
            return

    async def read(self) -> worker_pb2.WorkResponse | Outcome:
        """The next frame, or how the stream ended."""
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        return STREAM_ENDS if frame is grpc.aio.EOF else frame

    def close(self) -> None:
        """Breaks the stream."""
        self._call.cancel()


@dataclass
class Bench:
    """A session with two leases: one for a frame that is wrong, one to see that the stream goes on."""

    stream: Stream
    session_id: bytes
    token: bytes
    spare: bytes
    #: A lease and the id of another session.
    other_token: bytes
    other_session_id: bytes

    def completed(self) -> worker_pb2.Result:
        """A result as it should be."""
        return worker_pb2.Result(token=self.token, completed=worker_pb2.Completed(output=b"1"))


class World:
    """A coordinator with a neighbour that must not notice anything."""

    def __init__(self, channel: grpc.aio.Channel, neighbour: RawWorker, held: bytes) -> None:
        self.channel = channel
        self._neighbour = neighbour
        self._held = held

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Bench]:
        """A session of its own, with two leases."""
        await start_runs(self.channel, "tried", 2)
        stream, leases = Stream(self.channel), []
        frame = worker_pb2.WorkRequest(hello=worker_pb2.Hello.FromString(hello(None).hello.SerializeToString()))
        frame.hello.ClearField("session_id")
        frame.hello.ClearField("held_tokens")
        frame.hello.subscriptions[0].scope = ""
        frame.hello.subscriptions[0].handlers[0].name = "tried.work"
        await stream.send(frame.SerializeToString())
        welcome = await stream.read()
        assert isinstance(welcome, worker_pb2.WorkResponse)
        await stream.send(worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=2)).SerializeToString())
        while len(leases) < 2:
            tasks = await stream.read()
            assert isinstance(tasks, worker_pb2.WorkResponse)
            leases += [task.token for task in tasks.task_batch.tasks]
        assert self._neighbour.welcome is not None
        try:
            yield Bench(
                stream, welcome.welcome.session_id, leases[0], leases[1], self._held, self._neighbour.welcome.session_id
            )
        finally:
            stream.close()

    async def neighbour_works(self) -> bool:
        """Whether the neighbour gets a task and has it recorded."""
        await start_runs(self.channel, "neighbour", 1)
        self._neighbour.grant(1)
        (task,) = await self._neighbour.take_tasks(1)
        self._neighbour.complete(task)
        (ack,) = await self._neighbour.take_acks(1)
        return ack.verdict == RECORDED


@pytest.fixture
async def world(start_coordinator: Callable[..., Any]) -> AsyncIterator[World]:
    async with (
        start_coordinator(lease_s=120, max_lost_leases=1000) as coordinator,
        channel_to(coordinator) as theirs,
        channel_to(coordinator) as ours,
        raw_worker(ours, ["neighbour.work"], credits=1) as neighbour,
    ):
        for flow in ("tried", "neighbour"):
            await define(theirs, flow, work=[])
        await start_runs(theirs, "neighbour", 1)
        (held,) = await neighbour.take_tasks(1)
        yield World(theirs, neighbour, held.token)


def expected(case: Case) -> Answer | None:
    """What the table says of a case; None: nothing."""
    if case.field == "body":
        return invalid("FIELD_INVALID")
    mutation = "missing" if case.mutation == "wrong wire type" else case.mutation
    if mutation in UNREADABLE:
        return UNREADABLE[mutation]
    if mutation == "unknown field":
        return OK
    return FIELDS[case.field].answers.get(mutation) if case.field in FIELDS else None


def values_of(bench: Any) -> Callable[[str], dict[str, Any]]:
    """The table's own values of a field."""

    def values(name: str) -> dict[str, Any]:
        kind = FIELDS.get(name)
        if kind is None:
            return {}
        return {key: value(bench) if callable(value) else value for key, value in kind.values.items()}

    return values


async def answered(bench: Bench, frame: bytes, answer: Answer) -> Outcome:
    """What becomes of a frame after Hello: of its first result, or of the stream."""
    await bench.stream.send(frame)
    sent = _parsed(frame)
    if answer.status in ("OK", *_VERDICTS.values()) and not sent.HasField("goodbye"):
        # Only where the stream should go on: a write that meets its end makes the client forget the status.
        spare = worker_pb2.Result(token=bench.spare, completed=worker_pb2.Completed(output=b"2"))
        await bench.stream.send(
            worker_pb2.WorkRequest(result_batch=worker_pb2.ResultBatch(results=[spare])).SerializeToString()
        )
    missing, outcome = len(sent.result_batch.results) + 1, Outcome()
    while missing:
        came = await bench.stream.read()
        if isinstance(came, Outcome):
            return came
        for ack in came.ack_batch.acks:
            missing -= 1
            if ack.token != bench.spare and ack.verdict in _VERDICTS:
                outcome = Outcome(_VERDICTS[ack.verdict], _name_of(ack.reason), ack.message)
    return outcome


_VERDICTS = {worker_pb2.ACK_VERDICT_STALE: "STALE", worker_pb2.ACK_VERDICT_REJECTED: "REJECTED"}


def _name_of(reason: Any) -> str:
    return common_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def _parsed(frame: bytes) -> worker_pb2.WorkRequest:
    """The frame; an empty one when it is none."""
    try:
        return worker_pb2.WorkRequest.FromString(frame)
    except DecodeError:
        return worker_pb2.WorkRequest()


def differences(case: Case, answer: Answer, outcome: Outcome) -> list[str]:
    """How an outcome differs from the table."""
    if answer.status not in ("STALE", "REJECTED"):
        return faults(case, answer, outcome)
    if (outcome.status, outcome.reason) != (answer.status, answer.reason):
        return [f"answered {outcome}, not {answer}"]
    if answer.status == "REJECTED" and "; " not in outcome.message:
        return [f"has no remedy: {outcome.message}"]
    return []


def test_the_tables_name_every_frame_and_only_fields_of_the_contract() -> None:
    frames = worker_pb2.WorkRequest.DESCRIPTOR.oneofs_by_name["frame"].fields
    assert {name.partition(" of ")[0] for name in VALID} | {"hello"} == {field.name for field in frames}
    messages = worker_pb2.DESCRIPTOR.message_types_by_name.values()
    known = {f"{message.name}.{field.name}" for message in messages for field in message.fields}
    assert {field.removesuffix("[]") for field in FIELDS} <= known


@pytest.mark.parametrize("valid", ["hello", *VALID])
async def test_bad_frames_are_refused_by_name(valid: str, world: World, caplog: pytest.LogCaptureFixture) -> None:
    make, wrong = VALID.get(valid, hello), []
    with capture_logs() as lines:
        async with world.bench() as bench:
            cases = list(cases_of(make(bench), values_of(bench)))
        for number, case in enumerate(cases):
            answer = expected(case)
            if answer is None:
                wrong.append(f"{case}: the table says nothing of {case.field}; add it to frames.py")
                continue
            if valid == "hello":
                outcome = await _greeted(world, case.body(make(bench)))
            else:
                async with world.bench() as bench:
                    # Of this bench, whose leases are its own.
                    same = next(islice(cases_of(make(bench), values_of(bench)), number, None))
                    outcome = await answered(bench, same.body(make(bench)), answer)
            wrong += [f"{case}: {difference}" for difference in differences(case, answer, outcome)]
            if not await world.neighbour_works():
                wrong.append(f"{case}: the neighbour's result was not recorded")
    assert not wrong, "\n".join(wrong)
    assert [line for line in lines if line["log_level"] in ("error", "critical") or "exc_info" in line] == []
    assert [r for r in caplog.records if r.name != "asyncio" and r.levelno >= logging.ERROR] == []


async def _greeted(world: World, frame: bytes) -> Outcome:
    """What a first frame is answered."""
    stream = Stream(world.channel)
    await stream.send(frame)
    answer = await stream.read()
    stream.close()
    if isinstance(answer, Outcome):
        return answer
    assert answer.HasField("welcome")
    return Outcome()
