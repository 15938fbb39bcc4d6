"""Refusals of FlowService: code, reason, path of the field, and a remedy, for everything that is wrong."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from stepgres.v1 import flow_pb2, flow_pb2_grpc
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, InvalidArgument
from tests.support.rpc import details_of, reason_of, violations_of

LONG = "x" * 129


@pytest.fixture
def flows(channel: grpc.aio.Channel) -> flow_pb2_grpc.FlowServiceAsyncStub:
    return flow_pb2_grpc.FlowServiceStub(channel)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def flow(**fields: Any) -> flow_pb2.CreateFlowRequest:
    return ParseDict({"slug": "f", **fields}, flow_pb2.CreateFlowRequest())


def steps(*given: dict[str, Any], **fields: Any) -> flow_pb2.CreateFlowRequest:
    return flow(steps=list(given), **fields)


A = {"slug": "a"}
B = {"slug": "b"}
MAP = "STEP_TYPE_MAP"

WRONG = [
    (flow(slug=""), "slug", "FIELD_REQUIRED", "give a slug"),
    (flow(slug="1st"), "slug", "INVALID_SLUG", "use letters"),
    (flow(slug="run"), "slug", "INVALID_SLUG", 'not "run"'),
    (flow(slug=LONG), "slug", "INVALID_SLUG", "1 to 128"),
    (flow(slug="a b"), "slug", "INVALID_SLUG", "a b"),
    (flow(slug="über"), "slug", "INVALID_SLUG", "use letters"),
    (flow(slug="a\n"), "slug", "INVALID_SLUG", "use letters"),
    (flow(slug="a\x00"), "slug", "NUL_CHARACTER", "remove it"),
    (flow(queue="no queue"), "queue", "INVALID_SLUG", "use letters"),
    (flow(max_attempts=0), "max_attempts", "FIELD_OUT_OF_RANGE", "use 1 to 1000"),
    (flow(max_attempts=1001), "max_attempts", "FIELD_OUT_OF_RANGE", "1001"),
    (flow(timeout_s=0), "timeout_s", "FIELD_OUT_OF_RANGE", "use 1 to 2592000"),
    (flow(timeout_s=2592001), "timeout_s", "FIELD_OUT_OF_RANGE", "2592001"),
    (flow(base_delay_s=-1), "base_delay_s", "FIELD_OUT_OF_RANGE", "use 0 to 86400"),
    (flow(base_delay_s=86401), "base_delay_s", "FIELD_OUT_OF_RANGE", "86401"),
    (flow(max_delay_s=604801), "max_delay_s", "FIELD_OUT_OF_RANGE", "use 0 to 604800"),
    (steps({"slug": ""}), "steps[0].slug", "FIELD_REQUIRED", "give a slug"),
    (steps(A, {"slug": "b-c"}), "steps[1].slug", "INVALID_SLUG", "b-c"),
    (steps(A, A), "steps[1].slug", "DUPLICATE_STEP", "steps[0]"),
    (steps({**A, "handler": "1"}), "steps[0].handler", "INVALID_HANDLER", "use letters"),
    (steps({**A, "handler": "h" * 261}), "steps[0].handler", "INVALID_HANDLER", "260"),
    (steps({**A, "queue": "run"}), "steps[0].queue", "INVALID_SLUG", "use letters"),
    (steps({**A, "max_attempts": 0}), "steps[0].max_attempts", "FIELD_OUT_OF_RANGE", "use 1 to 1000"),
    (steps({**A, "timeout_s": -5}), "steps[0].timeout_s", "FIELD_OUT_OF_RANGE", "-5"),
    (steps({**A, "step_type": 7}), "steps[0].step_type", "FIELD_INVALID", "use SINGLE or MAP"),
    (steps({**A, "initial_tasks": 2}), "steps[0].initial_tasks", "INITIAL_TASKS_ON_SINGLE", "make the step a map"),
    (
        steps({**A, "step_type": MAP, "initial_tasks": -1}),
        "steps[0].initial_tasks",
        "FIELD_OUT_OF_RANGE",
        "use 0 or more",
    ),
    (
        steps(A, B, {"slug": "m", "step_type": MAP, "depends_on": ["a", "b"]}),
        "steps[2].depends_on",
        "MAP_DEPENDENCIES",
        "2 dependencies",
    ),
    (steps({**A, "depends_on": ["a"]}), "steps[0].depends_on[0]", "SELF_DEPENDENCY", "drop it"),
    (
        steps(A, {**B, "depends_on": ["a", "a"]}),
        "steps[1].depends_on[1]",
        "DUPLICATE_DEPENDENCY",
        "drop one",
    ),
    (steps({"slug": "fetch"}, {**B, "depends_on": ["fetsh"]}), "steps[1].depends_on[0]", "UNKNOWN_DEPENDENCY", "fetch"),
    (
        steps({**A, "depends_on": ["c"]}, {**B, "depends_on": ["a"]}, {"slug": "c", "depends_on": ["b"]}),
        "steps[1].depends_on[0]",
        "DEPENDENCY_CYCLE",
        "a -> b -> c -> a",
    ),
    (
        steps({**A, "params": {"text": "x" * 65536}}),
        "steps[0].params",
        "PAYLOAD_TOO_LARGE",
        "65547 bytes, at most 65536",
    ),
    (flow(steps=[{"slug": f"s{i}"} for i in range(2001)]), "steps", "TOO_MANY_STEPS", "2001 steps, at most 2000"),
]


@pytest.mark.parametrize(
    ("request_", "path", "reason", "says"), WRONG, ids=[f"{w[1]}-{w[2]}-{i}" for i, w in enumerate(WRONG)]
)
async def test_a_wrong_flow_is_refused(flows, request_, path, reason, says):
    error = await refused(flows.CreateFlow(request_))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == reason
    assert says in violations_of(error)[path]
    assert ";" in violations_of(error)[path]
    assert (error.details() or "").startswith(f"{path}: ")
    # Nothing was stored of it.
    assert not (await flows.ListFlows(flow_pb2.ListFlowsRequest())).flows


async def test_everything_that_is_wrong_is_told_at_once(flows):
    request = steps(
        {"slug": "a-b", "params": {"text": "x" * 70000}},
        {**B, "depends_on": ["nobody", "b"], "timeout_s": 0, "step_type": 9},
        slug="",
        max_attempts=0,
    )

    error = await refused(flows.CreateFlow(request))

    assert set(violations_of(error)) == {
        "slug",
        "max_attempts",
        "steps[0].slug",
        "steps[0].params",
        "steps[1].depends_on[0]",
        "steps[1].depends_on[1]",
        "steps[1].timeout_s",
        "steps[1].step_type",
    }


async def test_thousands_of_faults_are_refused_at_once_and_the_first_are_named(flows):
    request = flow(steps=[{"slug": f"s{i}", "depends_on": [f"nobody_{i}_{j}" for j in range(50)]} for i in range(2000)])

    error = await refused(flows.CreateFlow(request, timeout=20))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(violations_of(error)) > 10
    assert "violation_count" in str(details_of(error)) or "more)" in (error.details() or "")


ADD_WRONG = [
    ({}, "step", "FIELD_REQUIRED", "send the step"),
    ({"step": {}}, "step.slug", "FIELD_REQUIRED", "give a slug"),
    ({"step": {"slug": "run"}}, "step.slug", "INVALID_SLUG", "use letters"),
    ({"flow": "", "step": A}, "flow", "FIELD_REQUIRED", "give a slug"),
    ({"step": {"slug": "n", "depends_on": ["n"]}}, "step.depends_on[0]", "SELF_DEPENDENCY", "drop it"),
    ({"step": {"slug": "n", "depends_on": ["a", "a"]}}, "step.depends_on[1]", "DUPLICATE_DEPENDENCY", "drop one"),
    ({"step": {"slug": "n", "depends_on": ["a", "later"]}}, "step.depends_on[1]", "UNKNOWN_DEPENDENCY", "later"),
    ({"step": {"slug": "n", "max_delay_s": -1}}, "step.max_delay_s", "FIELD_OUT_OF_RANGE", "use 0 to 604800"),
    ({"step": {"slug": "n", "step_type": MAP, "depends_on": ["a", "b"]}}, "step.depends_on", "MAP_DEPENDENCIES", "one"),
    ({"step": {"slug": "n", "initial_tasks": 1}}, "step.initial_tasks", "INITIAL_TASKS_ON_SINGLE", "make the step"),
    ({"step": {"slug": "n", "params": {"x": "y" * 65536}}}, "step.params", "PAYLOAD_TOO_LARGE", "at most 65536"),
]


@pytest.mark.parametrize(("fields", "path", "reason", "says"), ADD_WRONG)
async def test_a_wrong_step_is_refused(flows, fields, path, reason, says):
    await flows.CreateFlow(steps(A, B))

    error = await refused(flows.AddStep(ParseDict({"flow": "f", **fields}, flow_pb2.AddStepRequest())))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == reason
    assert says in violations_of(error)[path]
    assert ";" in violations_of(error)[path]
    assert (await flows.GetFlow(flow_pb2.GetFlowRequest(flow="f"))).flow.step_count == 2


async def test_all_that_a_step_misses_is_told_with_what_was_meant(flows):
    await flows.CreateFlow(steps(A, B))

    step = {"slug": "n", "depends_on": ["B", "a", "later"]}
    error = await refused(flows.AddStep(ParseDict({"flow": "f", "step": step}, flow_pb2.AddStepRequest())))

    assert violations_of(error) == {
        "step.depends_on[0]": 'step "n" depends on "B", which flow "f" does not have; did you mean "b"?',
        "step.depends_on[2]": 'step "n" depends on "later", which flow "f" does not have; add that step first, or '
        "correct the name",
    }


async def test_a_step_for_no_flow_is_refused(flows):
    error = await refused(flows.AddStep(ParseDict({"flow": "nobody", "step": A}, flow_pb2.AddStepRequest())))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "FLOW_NOT_FOUND")
    assert "nobody" in violations_of(error)["flow"]


async def test_a_flow_takes_no_step_beyond_two_thousand(flows):
    await flows.CreateFlow(flow(steps=[{"slug": f"s{i}"} for i in range(2000)]))

    error = await refused(flows.AddStep(ParseDict({"flow": "f", "step": A}, flow_pb2.AddStepRequest())))

    assert reason_of(error) == "TOO_MANY_STEPS"
    assert "at most 2000" in violations_of(error)["step"]


async def test_params_as_large_as_allowed_are_taken_in_any_alphabet(flows):
    text = "é" * ((65536 - len('{"text":""}')) // 2)

    await flows.CreateFlow(steps({**A, "params": {"text": text}}))
    added = await flows.AddStep(
        ParseDict({"flow": "f", "step": {**B, "params": {"text": text}}}, flow_pb2.AddStepRequest())
    )

    assert added.step.definition.params["text"] == text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_numbers_that_json_does_not_have_are_refused(flows, number):
    request = steps({**A, "params": {}})
    request.steps[0].params["x"] = number

    error = await refused(flows.CreateFlow(request))

    assert reason_of(error) == "INVALID_JSON"
    assert "leave out" in violations_of(error)["steps[0].params"]


async def test_violations_come_step_by_step(coordinator: Coordinator) -> None:
    steps = [
        {"slug": "a", "depends_on": ["zzzzz"]},
        {"slug": "b", "depends_on": ["c"], "timeout_s": 0},
        {"slug": "c", "depends_on": ["b"], "handler": "no good"},
        {"slug": "c", "max_attempts": 0},
    ]
    plan = {"slug": "no good", "max_attempts": 0, "steps": steps}
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        told = [violation.path for violation in (await client.validate_flow(plan)).violations]
        assert told == [
            "slug", "max_attempts", "steps[0].depends_on[0]", "steps[1].timeout_s", "steps[2].handler",
            "steps[2].depends_on[0]", "steps[3].max_attempts", "steps[3].slug",
        ]  # fmt: skip
        with pytest.raises(InvalidArgument) as refused:
            await client.apply_flow(plan)
        assert [violation.field for violation in refused.value.violations] == told
        with pytest.raises(InvalidArgument) as refused:
            await client.start_run(plan={"steps": steps})
        assert [violation.field for violation in refused.value.violations] == [f"plan.{path}" for path in told[2:]]
