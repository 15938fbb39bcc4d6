"""What RunService refuses: the code, the reason, the path of the field, the value and what to do."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import flow_pb2, run_pb2, run_pb2_grpc
from tests.support.flows import define
from tests.support.rpc import reason_of, violations_of

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
Start, Get, List = run_pb2.StartRunRequest, run_pb2.GetRunRequest, run_pb2.ListRunsRequest
Tasks, Task, Watch, Cancel, Retry = (
    run_pb2.ListTasksRequest,
    run_pb2.GetTaskRequest,
    run_pb2.WatchRunRequest,
    run_pb2.CancelRunRequest,
    run_pb2.RetryRunRequest,
)

#: rpc, request, code, reason, field, what the description must hold.
REFUSALS: list[tuple[str, Any, grpc.StatusCode, str, str, list[str]]] = [
    ("StartRun", Start(), INVALID, "FIELD_REQUIRED", "flow", ["name a flow", "send a plan"]),
    ("StartRun", Start(flow="no-slug"), INVALID, "INVALID_SLUG", "flow", ['"no-slug"', "use letters"]),
    ("StartRun", Start(flow="x" * 129), INVALID, "INVALID_SLUG", "flow", ["129", "1 to 128"]),
    ("StartRun", Start(flow="nul\0"), INVALID, "INVALID_SLUG", "flow", ["use letters"]),
    ("StartRun", Start(flow="other"), MISSING, "FLOW_NOT_FOUND", "flow", ['"other"', "create it"]),
    ("StartRun", Start(flow="f", version=3), MISSING, "FLOW_VERSION_NOT_FOUND", "version", ["3", "latest is 1"]),
    ("StartRun", Start(flow="f", version=-1), INVALID, "FIELD_OUT_OF_RANGE", "version", ["-1", "use 0 or more"]),
    ("StartRun", Start(flow="f", input=b"{]"), INVALID, "INVALID_JSON", "input", ["column", "send one JSON value"]),
    ("StartRun", Start(flow="f", input=b"1 2"), INVALID, "INVALID_JSON", "input", ["send one JSON value"]),
    ("StartRun", Start(flow="f", input=b"NaN"), INVALID, "INVALID_JSON", "input", ["send one JSON value"]),
    ("StartRun", Start(flow="f", input=b'"\xff"'), INVALID, "INVALID_UTF8", "input", ["byte 1", "UTF-8"]),
    ("StartRun", Start(flow="f", input=b'"\\u0000"'), INVALID, "NUL_CHARACTER", "input", ["byte 1", "remove it"]),
    ("StartRun", Start(flow="f", input=b"1" * (1 << 21)), INVALID, "PAYLOAD_TOO_LARGE", "input",
     ["2097152", "1048576", "reference"]),
    ("StartRun", Start(flow="f", scope="s" * 129), INVALID, "FIELD_TOO_LONG", "scope", ["129", "128", "shorten"]),
    ("StartRun", Start(flow="f", scope="a\0"), INVALID, "NUL_CHARACTER", "scope", ["U+0000", "remove it"]),
    ("StartRun", Start(flow="f", idempotency_key="k" * 129), INVALID, "FIELD_TOO_LONG", "idempotency_key",
     ["129", "128", "shorten"]),
    ("StartRun", Start(flow="f", idempotency_key="\0"), INVALID, "NUL_CHARACTER", "idempotency_key", ["remove it"]),
    ("StartRun", Start(flow="each", input=b'{"a": 1}'), INVALID, "TYPE_VIOLATION", "input",
     ["an object", '"item"', "send an array"]),
    ("StartRun", Start(flow="each"), INVALID, "TYPE_VIOLATION", "input", ["an object", "send an array"]),
    ("StartRun", Start(flow="two", input=b"[1, 2, 3]"), INVALID, "INITIAL_TASKS_MISMATCH", "input",
     ["3 items", "initial_tasks = 2", "send 2 items"]),
    ("StartRun", Start(flow="each", input=b"[" + b"1," * 100_000 + b"1]"), INVALID, "TOO_MANY_ITEMS", "input",
     ["100001", "100000", "split"]),
    ("StartRun", Start(plan=flow_pb2.CreateFlowRequest(slug="f")), INVALID, "FIELD_INVALID", "plan.slug",
     ['"f"', "create a flow"]),
    ("GetRun", Get(), INVALID, "FIELD_REQUIRED", "run_id", ["name the run"]),
    ("GetRun", Get(run_id="42"), INVALID, "FIELD_INVALID", "run_id", ['"42"', "send"]),
    ("GetRun", Get(run_id="{" + RUN + "}"), INVALID, "FIELD_INVALID", "run_id", ["no UUID"]),
    ("GetRun", Get(run_id=RUN.replace("-", "")), INVALID, "FIELD_INVALID", "run_id", ["no UUID"]),
    ("GetRun", Get(run_id=RUN), MISSING, "RUN_NOT_FOUND", "run_id", [RUN, "list the runs"]),
    ("GetRun", Get(run_id=RUN, view=7), INVALID, "FIELD_INVALID", "view", ["7", "use one of"]),  # type: ignore[arg-type]
    ("ListRuns", List(page_size=-1), INVALID, "FIELD_OUT_OF_RANGE", "page_size", ["-1", "use 0 or more"]),
    ("ListRuns", List(page_token="x"), INVALID, "INVALID_PAGE_TOKEN", "page_token", ['"x"', "next_page_token"]),
    ("ListRuns", List(version=1), INVALID, "FIELD_INVALID", "version", ["1", "name the flow"]),
    ("ListRuns", List(flow="no-slug"), INVALID, "INVALID_SLUG", "flow", ['"no-slug"', "use letters"]),
    ("ListRuns", List(status=99), INVALID, "FIELD_INVALID", "status", ["99", "use one of"]),  # type: ignore[arg-type]
    ("ListRuns", List(start_time_min=Timestamp(seconds=1 << 50)), INVALID, "FIELD_INVALID", "start_time_min",
     ["use the years"]),
    ("ListTasks", Tasks(run_id="x"), INVALID, "FIELD_INVALID", "run_id", ['"x"']),
    ("ListTasks", Tasks(run_id=RUN), MISSING, "RUN_NOT_FOUND", "run_id", [RUN]),
    ("ListTasks", Tasks(run_id=RUN, status=99), INVALID, "FIELD_INVALID", "status", ["99"]),  # type: ignore[arg-type]
    ("ListTasks", Tasks(run_id=RUN, page_size=-5), INVALID, "FIELD_OUT_OF_RANGE", "page_size", ["-5"]),
    ("GetTask", Task(run_id=RUN), INVALID, "FIELD_REQUIRED", "step", ["give"]),
    ("GetTask", Task(run_id=RUN, step="a", task_index=-1), INVALID, "FIELD_OUT_OF_RANGE", "task_index", ["-1"]),
    ("GetTask", Task(run_id=RUN, step="a"), MISSING, "RUN_NOT_FOUND", "run_id", [RUN]),
    ("CancelRun", Cancel(run_id=RUN), MISSING, "RUN_NOT_FOUND", "run_id", [RUN]),
    ("CancelRun", Cancel(run_id=RUN, reason="r" * 1001), INVALID, "FIELD_TOO_LONG", "reason", ["1001", "1000"]),
    ("CancelRun", Cancel(run_id=RUN, reason="\0"), INVALID, "NUL_CHARACTER", "reason", ["remove it"]),
    ("RetryRun", Retry(run_id=RUN), MISSING, "RUN_NOT_FOUND", "run_id", [RUN]),
    ("RetryRun", Retry(run_id="x"), INVALID, "FIELD_INVALID", "run_id", ['"x"']),
    ("WatchRun", Watch(run_id="x"), INVALID, "FIELD_INVALID", "run_id", ['"x"']),
    ("WatchRun", Watch(run_id=RUN), MISSING, "RUN_NOT_FOUND", "run_id", [RUN]),
    ("WatchRun", Watch(run_id=RUN, cursor="x"), INVALID, "INVALID_CURSOR", "cursor", ["leave it empty"]),
]  # fmt: skip


async def call(channel: grpc.aio.Channel, rpc: str, request: Any) -> None:
    answer = getattr(run_pb2_grpc.RunServiceStub(channel), rpc)(request)
    if rpc == "WatchRun":
        async for _ in answer:
            pass
    else:
        await answer


async def test_refusals_of_requests(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    await define(channel, "each", item=[], maps=["item"])
    await define(channel, "two", item=[], maps=["item"], step={"initial_tasks": 2})
    wrong = []
    for rpc, request, code, reason, field, words in REFUSALS:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(channel, rpc, request)
        told = violations_of(refusal.value)
        found = (refusal.value.code(), reason_of(refusal.value), field in told)
        missing = [word for word in words if word not in told.get(field, "")]
        if found != (code, reason, True) or missing:
            wrong.append((rpc, str(request)[:80], found, told, missing))
    assert wrong == []


async def test_everything_that_is_wrong_is_told_at_once(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call(
            channel, "StartRun", Start(flow="a-b", version=-1, input=b"{", scope="\0", idempotency_key="k" * 200)
        )
    assert set(violations_of(refusal.value)) == {"flow", "version", "input", "scope", "idempotency_key"}


async def test_steps_and_tasks_that_do_not_exist(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", first=[], second=["first"])
    stub = run_pb2_grpc.RunServiceStub(channel)
    run_id = (await stub.StartRun(Start(flow="f"))).run.run_id
    for rpc, request, reason, field in (
        ("ListTasks", Tasks(run_id=run_id, step="third"), "STEP_NOT_FOUND", "step"),
        ("GetTask", Task(run_id=run_id, step="third"), "STEP_NOT_FOUND", "step"),
        ("GetTask", Task(run_id=run_id, step="first", task_index=1), "TASK_NOT_FOUND", "task_index"),
        ("GetTask", Task(run_id=run_id, step="second"), "TASK_NOT_FOUND", "task_index"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(channel, rpc, request)
        assert refusal.value.code() is MISSING
        assert (reason_of(refusal.value), list(violations_of(refusal.value))) == (reason, [field])
