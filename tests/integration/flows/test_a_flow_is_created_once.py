"""CreateFlow and AddStep over gRPC: what is stored, and what the same or another request answers."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc
from tests.support.rpc import reason_of, violations_of

ETL = {
    "slug": "etl",
    "max_attempts": 5,
    "timeout_s": 60,
    "base_delay_s": 2,
    "max_delay_s": 20,
    "queue": "shared",
    "steps": [
        {"slug": "save", "depends_on": ["each", "fetch"], "handler": "store.save", "max_attempts": 1},
        {"slug": "each", "depends_on": ["fetch"], "step_type": "STEP_TYPE_MAP", "initial_tasks": 3, "queue": "heavy"},
        {
            "slug": "fetch",
            "params": {"url": "x", "n": 3, "ratio": 0.5, "deep": [{"a": None, "b": True}]},
            "timeout_s": 9,
            "base_delay_s": 0,
            "max_delay_s": 0,
        },
    ],
}


def create_request(value: dict[str, object]) -> flow_pb2.CreateFlowRequest:
    return ParseDict(value, flow_pb2.CreateFlowRequest())


@pytest.fixture
def flows(channel: grpc.aio.Channel) -> flow_pb2_grpc.FlowServiceAsyncStub:
    return flow_pb2_grpc.FlowServiceStub(channel)


async def refused(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_steps_may_come_in_any_order_and_are_stored_behind_their_dependencies(flows):
    response = await flows.CreateFlow(create_request(ETL))

    assert response.created
    flow = response.flow
    assert (flow.slug, flow.version, flow.latest_version, flow.step_count) == ("etl", 1, 1, 3)
    assert (flow.max_attempts, flow.timeout_s, flow.base_delay_s, flow.max_delay_s) == (5, 60, 2, 20)
    assert flow.queue == "shared"
    assert list(flow.topological_order) == ["fetch", "each", "save"]
    assert [step.step_index for step in flow.steps] == [0, 1, 2]
    assert flow.HasField("create_time")


async def test_a_step_keeps_every_word_of_its_author(flows):
    await flows.CreateFlow(create_request(ETL))

    steps = (await flows.GetFlow(flow_pb2.GetFlowRequest(flow="etl"))).flow.steps
    fetch, each, save = (step.definition for step in steps)

    assert (fetch.timeout_s, fetch.base_delay_s, fetch.max_delay_s) == (9, 0, 0)
    assert fetch.HasField("base_delay_s")
    assert not fetch.HasField("max_attempts")
    assert dict(fetch.params.fields["deep"].list_value.values[0].struct_value)["b"] is True
    assert fetch.params["n"] == 3
    assert (each.step_type, each.initial_tasks, each.queue) == (common_pb2.STEP_TYPE_MAP, 3, "heavy")
    assert not fetch.HasField("initial_tasks")
    assert (save.handler, list(save.depends_on), save.max_attempts) == ("store.save", ["fetch", "each"], 1)
    assert fetch.step_type == common_pb2.STEP_TYPE_SINGLE
    assert fetch.handler == "etl.fetch"


async def test_whole_numbers_of_params_are_stored_as_integers(flows, conn):
    await flows.CreateFlow(create_request({"slug": "p", "steps": [{"slug": "a", "params": {"n": 3.0, "f": 0.25}}]}))

    row = await (await conn.execute("select params ->> 'n', params ->> 'f' from pgflow.workflow_steps")).fetchone()

    assert row == ("3", "0.25")


async def test_the_same_request_again_changes_nothing(flows):
    first = await flows.CreateFlow(create_request(ETL))
    shuffled = {**ETL, "steps": list(reversed(ETL["steps"]))}

    again = await flows.CreateFlow(create_request(shuffled))

    assert not again.created
    assert again.flow == first.flow


async def test_defaults_said_aloud_equal_defaults_left_out(flows):
    await flows.CreateFlow(create_request({"slug": "d", "steps": [{"slug": "a"}]}))

    said = create_request(
        {
            "slug": "d",
            "max_attempts": 3,
            "timeout_s": 30,
            "steps": [{"slug": "a", "handler": "d.a", "params": {}, "step_type": "STEP_TYPE_SINGLE"}],
        }
    )

    assert not (await flows.CreateFlow(said)).created


async def test_another_shape_is_refused_with_every_difference(flows):
    await flows.CreateFlow(create_request(ETL))
    changed = create_request(ETL)
    changed.max_attempts = 6
    changed.steps[0].handler = "store.other"
    changed.steps.add(slug="notify")

    error = await refused(flows.CreateFlow(changed))

    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(error) == "FLOW_EXISTS"
    for fact in ("max_attempts", "5", "6", "store.save", "store.other", "notify", "new_version"):
        assert fact in error.details()


async def test_another_shape_becomes_a_version_when_asked_for(flows):
    first = await flows.CreateFlow(create_request(ETL))
    changed = create_request(ETL)
    changed.steps[0].handler = "store.other"
    changed.new_version = True

    second = await flows.CreateFlow(changed)

    assert (second.created, second.flow.version, second.flow.latest_version) == (True, 2, 2)
    # The first shape is still there: nothing new is made of it.
    old = await flows.CreateFlow(create_request(ETL))
    assert (old.created, old.flow.version, old.flow.latest_version) == (False, 1, 2)
    got = await flows.GetFlow(flow_pb2.GetFlowRequest(flow="etl", version=1))
    assert list(got.versions) == [1, 2]
    assert list(got.flow.steps) == list(first.flow.steps)
    assert (await flows.GetFlow(flow_pb2.GetFlowRequest(flow="etl"))).flow.version == 2


async def test_a_create_and_add_script_can_run_twice(flows):
    for created in (True, False):
        flow = await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="script"))
        assert flow.created is created
        for slug, needs in (("a", []), ("b", ["a"])):
            step = flow_pb2.StepDefinition(slug=slug, depends_on=needs)
            added = await flows.AddStep(flow_pb2.AddStepRequest(flow="script", step=step))
            assert (added.created, added.version) == (created, 1)
            assert added.step.definition.slug == slug


async def test_without_steps_only_the_options_are_compared(flows):
    await flows.CreateFlow(create_request(ETL))
    options = {key: value for key, value in ETL.items() if key != "steps"}

    same = await flows.CreateFlow(create_request(options))
    error = await refused(flows.CreateFlow(create_request({**options, "timeout_s": 61})))

    assert not same.created
    assert same.flow.step_count == 3
    assert reason_of(error) == "FLOW_EXISTS"
    assert "timeout" in error.details()


async def test_a_flow_made_at_once_equals_one_made_step_by_step(flows):
    whole = (await flows.CreateFlow(create_request({**ETL, "slug": "etl"}))).flow
    await flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="etl"))
    await flows.CreateFlow(create_request({key: value for key, value in ETL.items() if key != "steps"}))
    for step in reversed(create_request(ETL).steps):
        await flows.AddStep(flow_pb2.AddStepRequest(flow="etl", step=step))

    grown = (await flows.GetFlow(flow_pb2.GetFlowRequest(flow="etl"))).flow

    assert [step.definition for step in grown.steps] == [step.definition for step in whole.steps]
    assert grown.topological_order == whole.topological_order
    assert not (await flows.CreateFlow(create_request(ETL))).created


async def test_a_step_of_another_shape_is_refused_with_its_differences(flows):
    await flows.CreateFlow(create_request(ETL))
    step = flow_pb2.StepDefinition(slug="fetch", timeout_s=10)

    error = await refused(flows.AddStep(flow_pb2.AddStepRequest(flow="etl", step=step)))

    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(error) == "STEP_EXISTS"
    assert "timeout" in error.details()
    assert "params" in error.details()


async def test_fifty_creators_at_once_make_one_flow(flows):
    answers = await asyncio.gather(*[flows.CreateFlow(create_request(ETL)) for _ in range(50)])

    assert sum(answer.created for answer in answers) == 1
    assert {answer.flow.version for answer in answers} == {1}


async def test_fifty_creators_of_one_step_add_it_once(flows):
    await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="grows"))
    request = flow_pb2.AddStepRequest(flow="grows", step=flow_pb2.StepDefinition(slug="only"))

    answers = await asyncio.gather(*[flows.AddStep(request) for _ in range(50)])

    assert sum(answer.created for answer in answers) == 1
    assert (await flows.GetFlow(flow_pb2.GetFlowRequest(flow="grows"))).flow.step_count == 1


async def test_fifty_creators_of_fifty_steps_get_fifty_indexes(flows):
    await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="grows"))

    answers = await asyncio.gather(
        *[
            flows.AddStep(flow_pb2.AddStepRequest(flow="grows", step=flow_pb2.StepDefinition(slug=f"s{i}")))
            for i in range(50)
        ]
    )

    assert sorted(answer.step.step_index for answer in answers) == list(range(50))


async def test_a_flow_of_two_thousand_steps_is_created_and_read(flows):
    steps = [{"slug": f"s{i}", "depends_on": [f"s{i - 1}"] if i else []} for i in reversed(range(2000))]

    async with asyncio.timeout(20):
        response = await flows.CreateFlow(create_request({"slug": "long", "steps": steps}))

    assert response.flow.step_count == 2000
    assert response.flow.topological_order[0] == "s0"


async def test_names_differ_by_case(flows):
    await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="Etl"))

    assert (await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="etl"))).created


async def test_a_repeated_literal_of_a_nul_escape_is_no_nul(flows):
    request = create_request({"slug": "lit", "steps": [{"slug": "a", "params": {"regex": "\\u0000"}}]})

    definition = (await flows.CreateFlow(request)).flow.steps[0].definition

    assert definition.params["regex"] == "\\u0000"


async def test_a_nul_in_params_is_refused(flows):
    request = create_request({"slug": "nul", "steps": [{"slug": "a", "params": {"deep": [{"k\x00": 1}]}}]})

    error = await refused(flows.CreateFlow(request))

    assert reason_of(error) == "NUL_CHARACTER"
    assert "remove" in violations_of(error)["steps[0].params"]
