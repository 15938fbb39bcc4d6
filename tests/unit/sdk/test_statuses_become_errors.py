"""From a gRPC status with details to the class of the SDK, and errors through pickle."""

from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

import stepgres_worker as sdk
from stepgres_worker import Aborted, NotFound, _errors, errors
from stepgres_worker._errors import request_error


def packed(*details: object) -> bytes:
    status = status_pb2.Status(code=3, message="m")
    for detail in details:
        any_message = AnyMessage()
        any_message.Pack(detail)  # type: ignore[arg-type]
        status.details.append(any_message)
    return status.SerializeToString()


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_a_class(code: str) -> None:
    error = _errors.from_status(code, "text", None)
    assert isinstance(error, sdk.RequestError)
    assert error.code == code
    if code != "UNKNOWN":
        assert type(error) is not sdk.RequestError


def test_a_call_that_a_leaving_server_had_not_begun_may_be_repeated() -> None:
    error = _errors.from_status("CANCELLED", "StatusCode.CANCELLED", None, target="here:1")
    assert isinstance(error, sdk.Unavailable)
    assert error.cause == "the coordinator went away"


def test_details_are_read() -> None:
    details = packed(
        error_details_pb2.ErrorInfo(domain="stepgres", reason="INVALID_SLUG", metadata={"allowed": "128"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="steps[2].slug", description="bad", reason="R"),
                error_details_pb2.BadRequest.FieldViolation(field="slug", description="worse"),
            ]
        ),
        error_details_pb2.RetryInfo(),
    )
    error = _errors.from_status("INVALID_ARGUMENT", "two things are wrong", details)
    assert isinstance(error, sdk.InvalidArgument)
    assert type(error) is errors.InvalidSlug
    assert (str(error), error.field) == ("steps[2].slug: bad\nslug: worse", "steps[2].slug")
    assert error.reason == sdk.ErrorReason.INVALID_SLUG
    assert error.metadata == {"allowed": "128"}
    assert error.violations == (
        sdk.FieldViolation("steps[2].slug", "bad", "R"),
        sdk.FieldViolation("slug", "worse"),
    )


def test_the_text_tells_twenty_violations_and_counts_the_rest() -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=f"steps[{i}].slug", description=f"steps[{i}].slug: bad")
        for i in range(23)
    ]
    error = _errors.from_status(
        "INVALID_ARGUMENT", "(and 22 more)", packed(error_details_pb2.BadRequest(field_violations=violations))
    )
    lines = str(error).splitlines()
    assert lines[:1] + lines[19:] == ["steps[0].slug: bad", "steps[19].slug: bad", "and 3 more in .violations"]


def test_reasons_of_others_are_not_ours() -> None:
    details = packed(error_details_pb2.ErrorInfo(domain="googleapis.com", reason="API_KEY_INVALID"))
    assert _errors.from_status("PERMISSION_DENIED", "no", details).reason == ""


def test_broken_details_hide_nothing() -> None:
    error = _errors.from_status("NOT_FOUND", "no flow x", b"\xff\xff nonsense")
    assert type(error) is sdk.NotFound
    assert str(error) == "no flow x"


def test_nobody_there_says_what_to_do() -> None:
    error = _errors.from_status("UNAVAILABLE", "connection refused", None, target="10.0.0.1:50051")
    assert "10.0.0.1:50051" in str(error)
    assert "`stepgres dev`" in str(error)
    assert "STEPGRES_TARGET" in str(error)
    told = packed(error_details_pb2.ErrorInfo(domain="stepgres", reason="DATABASE_UNAVAILABLE"))
    assert str(_errors.from_status("UNAVAILABLE", "the database is away", told)) == "the database is away"


def test_a_deadline_is_a_timeout() -> None:
    assert isinstance(_errors.from_status("DEADLINE_EXCEEDED", "late", None), TimeoutError)


@pytest.mark.parametrize(
    "error",
    [
        sdk.RunFailed("id", "step", "CODE", "message"),
        sdk.RunCancelled("id", "why"),
        sdk.MissingHandlers("flow", ["a", "b"]),
        sdk.TaskError("m", code="C", retryable=False, retry_after_s=1.5),
        sdk.NotFound("m", code="NOT_FOUND", reason="R", violations=[sdk.FieldViolation("f", "d")], metadata={"a": "b"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_the_class_docstring_is_the_default_message() -> None:
    assert str(sdk.RequestError()) == "The coordinator refused the call."
    assert "post_fork" in str(sdk.ForkedError())


def test_a_reason_has_a_class_below_that_of_its_status() -> None:
    known = errors.BY_REASON["FLOW_NOT_FOUND"]
    assert type(request_error("NOT_FOUND", "x", reason="FLOW_NOT_FOUND")) is known is errors.FlowNotFound
    assert errors.__all__ == sorted(kind.__name__ for kind in errors.BY_REASON.values())
    # A newer server's reason, and one that came with another status.
    assert type(request_error("NOT_FOUND", "x", reason="MOON_NOT_FOUND")) is NotFound
    assert type(request_error("ABORTED", "x", reason="FLOW_NOT_FOUND")) is Aborted


@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
def test_the_docstring_of_a_class_is_the_contracts_word(reason: str) -> None:
    lines = (errors.BY_REASON[reason].__doc__ or "").split("\n")
    assert len(lines) >= 5
    assert "Remedy: " in "\n".join(lines)
