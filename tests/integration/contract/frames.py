"""The kind of every field that a worker's frames have, and one valid frame of each kind with all of its fields set.

A status `STALE` or `REJECTED` is the verdict of an ack: the stream goes on. All others end the stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from stepgres.v1 import worker_pb2
from tests.integration.contract.mutations import INT32_MAX
from tests.integration.contract.table import (
    INPUT,
    LONG,
    NUL,
    OK,
    RANGE,
    REQUIRED,
    Answer,
    Kind,
    invalid,
    more,
    number,
    text,
)

STALE = Answer("STALE", "INVALID_TOKEN")
_NO_OUTCOME, _NO_JSON = Answer("REJECTED", "FIELD_REQUIRED"), Answer("REJECTED", "INVALID_OUTPUT")
_NO_HELLO = invalid("HELLO_REQUIRED", "/hello")
_PROTOCOL = Answer("FAILED_PRECONDITION", "PROTOCOL_VERSION")
_NOBODY = invalid("FIELD_REQUIRED", "/hello.subscriptions")
_HANDLER = invalid("INVALID_HANDLER")
_INVALID = invalid("FIELD_INVALID")

#: What has no influence on what becomes of a frame.
_ANY_TEXT = text(OK, OK, nul=OK)
_ANY_NUMBER = Kind(dict.fromkeys(["missing", "0", "-1", "least", "greatest"], OK))
_ELEMENT = Kind({})


def _schema() -> Kind:
    refused = {
        mutation: Answer(answer.status, "INVALID_JSON" if answer.reason == "INVALID_UTF8" else answer.reason)
        for mutation, answer in INPUT.answers.items()
        if answer != OK
    }
    values = {name: INPUT.values[name] for name in refused if name in INPUT.values and name != "too large"}
    answers = {name: refused[name] for name in values} | {"missing": OK, "empty": OK}
    return more(
        Kind(
            answers | {"utf 16": NUL, "random": invalid("INVALID_JSON"), "9000 bytes": invalid("INVALID_JSON")}, values
        ),
        no_object=(b"[]", _INVALID),
        no_schema=(b'{"type": "nothing"}', _INVALID),
        a_pattern_that_is_none=(b'{"type": "string", "pattern": 7}', _INVALID),
        too_large=(b'{"title": "' + b"x" * (64 << 10) + b'"}', invalid("PAYLOAD_TOO_LARGE")),
        nested_deeply=(b'{"not":' * 900 + b"{}" + b"}" * 900, _INVALID),
    )


def _token() -> Kind:
    return more(
        Kind({"missing": STALE, "empty": STALE, "random": STALE, "9000 bytes": LONG}),
        of_zeros=(lambda world: bytes(len(world.token)), STALE),
        of_ones=(lambda world: b"\xff" * len(world.token), STALE),
        of_another_session=(lambda world: world.other_token, STALE),
        of_a_lease_that_is_none=(lambda world: world.token[:-4] + b"\x7f\xff\xff\xff", STALE),
        cut_off=(lambda world: world.token[:-1], STALE),
        too_long=(lambda world: world.token + b"\0", STALE),
    )


def _output() -> Kind:
    """As a run's input, but what is wrong fails the task alone."""
    answers = {
        name: answer if answer == OK else _NO_JSON
        for name, answer in INPUT.answers.items()
        if name not in ("too large",)
    }
    answers |= {"missing": _NO_JSON, "empty": _NO_JSON, "too large": Answer("REJECTED", "OUTPUT_TOO_LARGE")}
    return Kind(answers, INPUT.values)


FIELDS: dict[str, Kind] = {
    "WorkRequest.hello": Kind(
        {
            "missing": _NO_HELLO,
            "empty": Answer("FAILED_PRECONDITION", "PROTOCOL_VERSION", "/hello.max_protocol_version"),
        }
    ),
    "WorkRequest.credit_grant": Kind({"missing": OK, "empty": invalid("FIELD_OUT_OF_RANGE", "/credit_grant.credits")}),
    "WorkRequest.result_batch": Kind({"missing": OK, "empty": OK}),
    "WorkRequest.heartbeat": Kind({"missing": OK, "empty": OK}),
    "WorkRequest.goodbye": Kind({"missing": OK, "empty": OK}),
    "Hello.worker": more(text(REQUIRED, LONG, longest=200, other=OK), longest=("w" * 200, OK)),
    "Hello.instance_id": Kind(dict.fromkeys(["missing", "empty", "random", "9000 bytes"], _INVALID)),
    "Hello.min_protocol_version": Kind(dict.fromkeys(["missing", "0", "-1", "least"], RANGE) | {"greatest": _PROTOCOL}),
    "Hello.max_protocol_version": Kind(dict.fromkeys(["missing", "0", "-1", "least"], _PROTOCOL) | {"greatest": OK}),
    "Hello.sdk_language": more(text(OK, LONG, other=OK), longest=("l" * 64, OK)),
    "Hello.sdk_version": more(text(OK, LONG, other=OK), longest=("v" * 64, OK)),
    "Hello.subscriptions": more(
        Kind({"missing": REQUIRED}),
        too_many=([worker_pb2.Subscription()] * 10_001, invalid("FIELD_TOO_LONG", "/hello.subscriptions")),
    ),
    "Hello.subscriptions[]": _ELEMENT,
    "Hello.session_id": more(
        Kind({"missing": OK, "empty": OK, "random": _INVALID, "9000 bytes": _INVALID}),
        of_zeros=(bytes(16), OK),
        of_somebody_else=(lambda world: world.other_session_id, OK),  # A new session: who asks learns nothing.
    ),
    "Hello.held_tokens": more(
        Kind({"missing": OK}),
        ten_thousand=([bytes(44)] * 10_000, OK),
        too_many=([b""] * 200_001, invalid("FIELD_TOO_LONG", "/hello.held_tokens")),
    ),
    "Hello.held_tokens[]": Kind({"empty": OK, "random": OK, "9000 bytes": LONG}),
    "Hello.reconnect_grace_ms": number(0, INT32_MAX),
    "Subscription.scope": more(text(OK, LONG, other=OK), longest=("s" * 128, OK)),
    "Subscription.handlers": more(
        Kind({"missing": _NOBODY}),
        the_same_twice=([worker_pb2.Handler(name="h")] * 2, invalid("FIELD_INVALID", "handlers[1].name")),
        too_many=(
            [worker_pb2.Handler(name=f"h{number}") for number in range(10_001)],
            invalid("FIELD_TOO_LONG", "/hello.subscriptions"),
        ),
    ),
    "Subscription.handlers[]": _ELEMENT,
    "Handler.name": more(
        text(_HANDLER, _HANDLER, nul=_HANDLER),
        longest=("h" * 260, OK),
        a_slash=("a/b", _HANDLER),
        a_digit_first=("1a", _HANDLER),
        a_line_end=("a\n", _HANDLER),
    ).but(**{"129_characters": OK}),
    "Handler.description": text(OK, LONG, longest=8192, other=OK),
    "Handler.params_schema": _schema(),
    "Handler.input_schema": _schema(),
    "Handler.output_schema": _schema(),
    "CreditGrant.credits": number(1, INT32_MAX, missing=RANGE),
    "ResultBatch.credits": number(0, INT32_MAX),
    "ResultBatch.results": more(
        Kind({"missing": OK}),
        the_same_twice=(lambda world: [world.completed(), world.completed()], OK),
        more_than_anybody_holds=(
            lambda world: [world.completed()] * 20_001,
            Answer("RESOURCE_EXHAUSTED", "TOO_MANY_RESULTS"),
        ),
    ),
    "ResultBatch.results[]": _ELEMENT,
    "Result.token": _token(),
    "Result.completed": Kind({"missing": _NO_OUTCOME, "empty": _NO_JSON}),
    "Result.failed": Kind({"missing": _NO_OUTCOME, "empty": OK}),
    "Result.released": Kind({"missing": _NO_OUTCOME, "empty": OK}),
    "Completed.output": _output(),
    "Failed.code": _ANY_TEXT,
    "Failed.message": _ANY_TEXT,
    "Failed.details": _ANY_TEXT,
    "Failed.non_retryable": Kind(dict.fromkeys(["missing", "false", "true"], OK)),
    "Failed.retry_after_ms": _ANY_NUMBER,
    "Heartbeat.progress": Kind({"missing": OK}),
    "Heartbeat.progress[]": _ELEMENT,
    "TaskProgress.token": Kind(dict.fromkeys(["missing", "empty", "random", "9000 bytes"], OK)),
    "TaskProgress.fraction": Kind(dict.fromkeys(["missing", "0", "-1", "2", "NaN", "infinity"], OK)),
    "TaskProgress.message": _ANY_TEXT,
    "Goodbye.reason": _ANY_TEXT,
}


def hello(world: Any) -> worker_pb2.WorkRequest:
    """A session of its own."""
    schema = b'{"type": "object"}'
    handler = worker_pb2.Handler(
        name="tried", description="tries", params_schema=schema, input_schema=schema, output_schema=schema
    )
    return worker_pb2.WorkRequest(
        hello=worker_pb2.Hello(
            worker="tried",
            instance_id=os.urandom(16),
            min_protocol_version=1,
            max_protocol_version=1,
            sdk_language="bytes",
            sdk_version="1",
            subscriptions=[worker_pb2.Subscription(scope="apart", handlers=[handler])],
            session_id=os.urandom(16),
            held_tokens=[os.urandom(44)],
            reconnect_grace_ms=1,
        )
    )


def _of(result: Callable[[Any], worker_pb2.Result]) -> Callable[[Any], worker_pb2.WorkRequest]:
    return lambda world: worker_pb2.WorkRequest(result_batch=worker_pb2.ResultBatch(results=[result(world)]))


def _failed(world: Any) -> worker_pb2.Result:
    failed = worker_pb2.Failed(code="BAD", message="m", details="d", non_retryable=True, retry_after_ms=5)
    return worker_pb2.Result(token=world.token, failed=failed)


def _released(world: Any) -> worker_pb2.Result:
    return worker_pb2.Result(token=world.token, released=worker_pb2.Released())


def _heartbeat(world: Any) -> worker_pb2.WorkRequest:
    progress = worker_pb2.TaskProgress(token=world.token, fraction=0.5, message="half")
    return worker_pb2.WorkRequest(heartbeat=worker_pb2.Heartbeat(progress=[progress]))


#: Frames after Hello -> maker of a valid one.
VALID: dict[str, Callable[[Any], worker_pb2.WorkRequest]] = {
    "credit_grant": lambda _: worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=1)),
    "result_batch of a completion": _of(lambda world: world.completed()),
    "result_batch of a failure": _of(_failed),
    "result_batch of a release": _of(_released),
    "heartbeat": _heartbeat,
    "goodbye": lambda _: worker_pb2.WorkRequest(goodbye=worker_pb2.Goodbye(reason="done")),
}
