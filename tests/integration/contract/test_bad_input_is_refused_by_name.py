"""Every field of every rpc that takes one request, with every kind of bad value: who sends it is told what, where and
what to do; nothing that a caller sends is a fault of ours."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from stepgres.v1 import common_pb2, flow_pb2, run_pb2, worker_pb2
from stepgres_worker._errors import request_error
from stepgres_worker.errors import BY_REASON
from tests.integration.conftest import channel_to
from tests.integration.contract.fields import EXCEPTIONS, FIELDS
from tests.integration.contract.mutations import Case, cases_of
from tests.integration.contract.table import OK, UNREADABLE, Answer, invalid
from tests.integration.contract.world import VALID, World, made_world
from tests.support.rpc import details_of

METHODS = {
    method.name: method
    for file in (flow_pb2.DESCRIPTOR, run_pb2.DESCRIPTOR, worker_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
}
#: What a stack trace, or a message that was not made for callers, looks like.
TRACE = re.compile(r"Traceback|File \"|\.py\b|psycopg|line \d+, in |Exception|Error\b")
DEADLINE_S = 10.0


@dataclass
class Outcome:
    """What a call answered."""

    status: str = "OK"
    reason: str = ""
    message: str = ""
    #: Path, reason and description of each field at fault.
    violations: tuple[tuple[str, str, str], ...] = ()


def _reason(number: int) -> str:
    return common_pb2.ErrorReason.Name(number).removeprefix("ERROR_REASON_")  # type: ignore[arg-type]


async def call(channel: grpc.aio.Channel, rpc: str, body: bytes) -> Outcome:
    """Sends bytes as a request; refusals inside an answer are told like those of a call."""
    method = METHODS[rpc]
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    send = kind(
        f"/{method.containing_service.full_name}/{rpc}",
        request_serializer=None,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    try:
        if method.server_streaming:
            stream = send(body, timeout=DEADLINE_S)
            await stream.read()
            stream.cancel()
            return Outcome()
        return _inside(await send(body, timeout=DEADLINE_S))
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


def _inside(response: Any) -> Outcome:
    if isinstance(response, run_pb2.StartRunsResponse):
        for index, result in enumerate(response.results):
            if result.HasField("error"):
                path = f"requests[{index}].{result.error.field}"
                reason, message = _reason(result.error.reason), result.error.message
                status = next(code.name for code in grpc.StatusCode if code.value[0] == result.error.code)
                return Outcome(status, reason, message, ((path, reason, message),))
    if isinstance(response, flow_pb2.ValidateFlowResponse) and response.violations:
        found = tuple((f"flow.{each.path}", _reason(each.reason), each.message) for each in response.violations)
        return Outcome("INVALID_ARGUMENT", found[0][1], found[0][2], found)
    return Outcome()


def refusal_of(error: grpc.aio.AioRpcError) -> Outcome:
    """What a call ended with."""
    outcome = Outcome(error.code().name, message=error.details() or "")
    try:
        details = details_of(error).details
    except AssertionError:
        return outcome  # It has no reason, which no answer of the table allows.
    for detail in details:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == "stepgres":
            outcome.reason = info.reason
        elif detail.Unpack(request):
            outcome.violations = tuple((each.field, each.reason, each.description) for each in request.field_violations)
    if outcome.reason not in ("INTERNAL", "NOT_IMPLEMENTED"):
        # The SDK's class of the reason, made from the contract's comment, is below that of the status which came.
        assert type(request_error(outcome.status, "", reason=outcome.reason)) is BY_REASON[outcome.reason], outcome
    return outcome


def expected(valid: str, case: Case) -> Answer | None:
    """What the table says of a case; None: nothing."""
    if case.field == "body":
        return invalid("FIELD_INVALID")
    mutation = "missing" if case.mutation == "wrong wire type" else case.mutation
    if (exception := EXCEPTIONS.get((valid, case.path, case.mutation))) is not None:
        return exception
    if mutation in UNREADABLE:
        return UNREADABLE[mutation]
    return OK if mutation == "unknown field" else _of_kind(case.field, mutation)


def _of_kind(field: str, mutation: str) -> Answer | None:
    return FIELDS[field].answers.get(mutation) if field in FIELDS else None


def stale(valid: str, cases: list[Case]) -> list[str]:
    """What the table says of cases that do not exist."""
    met = {(case.field, case.mutation) for case in cases}
    said = {
        (field, mutation)
        for field in {case.field for case in cases} & set(FIELDS)
        for mutation in FIELDS[field].answers
    }
    apart = {(path, mutation) for request, path, mutation in EXCEPTIONS if request == valid}
    return [
        f"{name}: no case is {mutation!r}; drop it from the table"
        for name, mutation in sorted(said - met) + sorted(apart - {(case.path, case.mutation) for case in cases})
    ]


def faults(case: Case, answer: Answer, outcome: Outcome) -> list[str]:
    """How an answer differs from the table, and from what every refusal must tell."""
    if (outcome.status, outcome.reason) != (answer.status, answer.reason):
        return [f"answered {outcome}, not {answer}"]
    if answer == OK:
        return []
    at = _path(case.path, answer)
    found = []
    if f"ERROR_REASON_{outcome.reason}" not in common_pb2.ErrorReason.DESCRIPTOR.values_by_name:
        found.append(f"no reason of the contract: {outcome.reason}")
    if (at, answer.reason) not in [(path, reason) for path, reason, _ in outcome.violations]:
        found.append(f"does not name {at}: {outcome.violations}")
    if not all(path == case.path or path.startswith(at) for path, *_ in outcome.violations):
        found.append(f"blames another field than {at}: {outcome.violations}")
    for text in (outcome.message, *(description for *_, description in outcome.violations)):
        problem, _, remedy = text.partition("; ")
        if not problem.strip() or not remedy.strip():
            found.append(f"has no remedy: {text}")
        if TRACE.search(text):
            found.append(f"was not made for callers: {text}")
    return found


def _path(path: str, answer: Answer) -> str:
    if answer.at is None:
        return path
    return answer.at[1:] if answer.at.startswith("/") else path[: path.rfind(".") + 1] + answer.at


def values_of(world: World) -> Callable[[str], dict[str, Any]]:
    """The table's further values, made for a world."""

    def values(field: str) -> dict[str, Any]:
        kind = FIELDS.get(field)
        return {} if kind is None else {name: _made(value, world) for name, value in kind.values.items()}

    return values


def _made(value: Any, world: World) -> Any:
    return value(world) if callable(value) else value


async def test_every_rpc_with_one_request_has_a_valid_one() -> None:
    assert {name.partition(" of ")[0] for name in VALID} == set(METHODS)


async def test_the_table_names_fields_of_the_contract() -> None:
    messages = {**flow_pb2.DESCRIPTOR.message_types_by_name, **run_pb2.DESCRIPTOR.message_types_by_name}
    messages |= worker_pb2.DESCRIPTOR.message_types_by_name
    known = {f"{message.name}.{field.name}" for message in messages.values() for field in message.fields}
    assert {field.removesuffix("[]") for field in FIELDS} <= known


@pytest.mark.parametrize("valid", VALID)
async def test_bad_values_are_refused_by_name(
    valid: str, start_coordinator: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    rpc = valid.partition(" of ")[0]
    wrong: list[str] = []
    async with (
        start_coordinator(lease_s=120) as coordinator,
        channel_to(coordinator) as channel,
        made_world(channel) as world,
    ):
        with capture_logs() as lines:
            first = await call(channel, rpc, (await VALID[valid](world)).SerializeToString())
            assert first.status == OK.status, f"the valid request is refused: {first}"
            cases = list(cases_of(await VALID[valid](world), values_of(world)))
            wrong += stale(valid, cases)
            for case in cases:
                answer = expected(valid, case)
                if answer is None:
                    wrong.append(f"{case}: the table says nothing of {case.field}; add it to fields.py")
                    continue
                outcome = await call(channel, rpc, case.body(await VALID[valid](world)))
                wrong += [f"{case}: {fault}" for fault in faults(case, answer, outcome)]
        assert not wrong, "\n".join(wrong)
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert [line for line in lines if line["log_level"] in ("error", "critical") or "exc_info" in line] == []
        # The event loop is shared with the clients of other tests, and speaks of what those left behind.
        ours = [record for record in caplog.records if record.name != "asyncio"]
        assert [record for record in ours if record.levelno >= logging.ERROR] == []
