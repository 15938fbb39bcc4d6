"""The table of status.py: complete, and equal to the contract."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from stepgres.v1 import common_pb2
from stepgres_service import errors
from stepgres_service.api.status import code_of, item_error, to_status
from stepgres_service.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    StepgresError,
    Unavailable,
    Violation,
)


def test_reasons_are_the_names_of_the_contract():
    names = {name.removeprefix("ERROR_REASON_") for name in common_pb2.ErrorReason.DESCRIPTOR.values_by_name}

    assert {str(reason) for reason in Reason} == names - {"UNSPECIFIED"}


@pytest.mark.parametrize("kind", StepgresError.__subclasses__())
def test_every_class_has_a_code_of_its_own_name(kind):
    if kind.__module__ != errors.__name__:
        return
    error = kind(Violation("a", Reason.FIELD_INVALID, "b")) if kind is InvalidArgument else kind("x")
    name = "".join(f"_{char}" if char.isupper() else char.upper() for char in kind.__name__).lstrip("_")

    assert code_of(error) is (grpc.StatusCode.INTERNAL if name == "SETUP_ERROR" else grpc.StatusCode[name])


def test_a_class_of_a_part_has_the_code_of_its_parent():
    class Busy(ResourceExhausted):
        """Busy."""

    assert code_of(Busy()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_of(type("Odd", (StepgresError,), {"__doc__": "Odd."})()) is grpc.StatusCode.INTERNAL


def test_every_violation_is_a_field_of_bad_request():
    error = InvalidArgument(
        Violation("slug", Reason.INVALID_SLUG, "is `1`; use a letter"),
        Violation("steps[0].slug", Reason.FIELD_REQUIRED, "is empty; name it"),
    )

    status = to_status(error)

    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert status.message == "slug: is `1`; use a letter (and 1 more)"
    assert (info.domain, info.reason, dict(info.metadata)) == ("stepgres", "INVALID_SLUG", {"violation_count": "2"})
    assert [(v.field, v.reason, v.description) for v in request.field_violations] == [
        ("slug", "INVALID_SLUG", "is `1`; use a letter"),
        ("steps[0].slug", "FIELD_REQUIRED", "is empty; name it"),
    ]


def test_facts_for_programs_are_in_the_metadata():
    error = AlreadyExists(
        "used", reason=Reason.IDEMPOTENCY_KEY_REUSED, field="idempotency_key", metadata={"run_id": "7"}
    )

    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert to_status(error).details[0].Unpack(info)
    assert to_status(error).details[1].Unpack(request)
    assert dict(info.metadata) == {"run_id": "7"}
    assert request.field_violations[0].field == "idempotency_key"


@pytest.mark.parametrize(("seconds", "millis"), [(1.0, 1000), (0.25, 250), (0.0, 0)])
def test_a_retry_is_told_when(seconds, millis):
    retry = error_details_pb2.RetryInfo()

    assert to_status(Unavailable("away", retry_after_s=seconds)).details[-1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == millis


@pytest.mark.parametrize("text", ["x", "é", "\x00", "𝄞"])
def test_a_status_of_any_size_fits_into_a_trailer(text):
    many = [Violation(f"steps[{i}].slug", Reason.INVALID_SLUG, text * 5000) for i in range(1000)]
    status = to_status(InvalidArgument(*many))

    header = sum(1 if " " <= char <= "~" else 3 * len(char.encode()) for char in status.message)
    assert header + status.ByteSize() * 4 / 3 < 8000


def test_an_item_of_a_batch_gets_the_same_word():
    item = item_error(NotFound("flow: none", reason=Reason.FLOW_NOT_FOUND, field="flow"))

    assert (item.code, item.reason, item.message, item.field) == (
        grpc.StatusCode.NOT_FOUND.value[0],
        common_pb2.ERROR_REASON_FLOW_NOT_FOUND,
        "flow: none",
        "flow",
    )
