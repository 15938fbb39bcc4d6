"""What a caller is told of bytes that protobuf cannot read."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from stepgres.v1 import flow_pb2, run_pb2
from stepgres_service.api.malformed import read_message
from stepgres_service.errors import InvalidArgument, Reason

MARK, BROKEN = "QQQQ", b"ab\xff\xff"


def refusal_of(kind: type, data: bytes) -> tuple[str, Reason, str]:
    refused = read_message(kind, data)
    assert isinstance(refused, InvalidArgument)
    [violation] = refused.violations
    return violation.path, violation.reason, violation.message


def broken(message: run_pb2.StartRunRequest | flow_pb2.CreateFlowRequest) -> bytes:
    return message.SerializeToString().replace(MARK.encode(), BROKEN)


def test_a_message_is_read() -> None:
    assert read_message(flow_pb2.GetFlowRequest, b"\x0a\x01a") == flow_pb2.GetFlowRequest(flow="a")


def test_a_text_that_is_not_utf_8_is_named_by_its_path() -> None:
    step = flow_pb2.StepDefinition(slug="a", depends_on=["b", MARK])
    data = broken(run_pb2.StartRunRequest(plan=flow_pb2.CreateFlowRequest(steps=[flow_pb2.StepDefinition(), step])))
    path, reason, message = refusal_of(run_pb2.StartRunRequest, data)
    assert (path, reason) == ("plan.steps[1].depends_on[1]", Reason.INVALID_UTF8)
    assert "at byte 2" in message
    assert message.endswith("; send text encoded as UTF-8")


def test_a_struct_is_one_field_to_its_author() -> None:
    params = Struct()
    params.update({"a": {"b": [MARK]}})
    data = broken(flow_pb2.CreateFlowRequest(steps=[flow_pb2.StepDefinition(slug="a", params=params)]))
    assert refusal_of(flow_pb2.CreateFlowRequest, data)[:2] == ("steps[0].params", Reason.INVALID_UTF8)


def test_what_is_nested_too_deep_is_told_so() -> None:
    request = flow_pb2.CreateFlowRequest()
    inner = request.steps.add().params
    for _ in range(60):
        inner = inner.fields["a"].struct_value
    inner.fields["end"].bool_value = True
    path, reason, message = refusal_of(flow_pb2.CreateFlowRequest, request.SerializeToString())
    assert (path, reason) == ("steps[0].params", Reason.FIELD_INVALID)
    assert message.endswith("make it flatter")


def test_broken_bytes_are_told_of_the_message_that_holds_them() -> None:
    assert refusal_of(flow_pb2.GetFlowRequest, b"\xff\xff\xff")[:2] == ("", Reason.FIELD_INVALID)
    assert refusal_of(flow_pb2.CreateFlowRequest, b"\x12\x02\x0a\x7f")[:2] == ("steps[0]", Reason.FIELD_INVALID)


def test_a_large_body_is_refused_without_a_search() -> None:
    data = broken(run_pb2.StartRunRequest(flow=MARK, input=b"1" * (1 << 20)))
    path, reason, message = refusal_of(run_pb2.StartRunRequest, data)
    assert (path, reason) == ("", Reason.FIELD_INVALID)
    assert "stepgres.v1.StartRunRequest" in message
