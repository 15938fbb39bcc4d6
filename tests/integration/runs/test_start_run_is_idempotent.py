"""StartRun: one run for one idempotency key, whoever asks and however often."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import grpc
import pytest

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc
from tests.support.flows import define, get_run
from tests.support.rpc import details_of, reason_of, violations_of


async def start(channel: grpc.aio.Channel, flow: str = "f", **fields: Any) -> run_pb2.StartRunResponse:
    return await run_pb2_grpc.RunServiceStub(channel).StartRun(run_pb2.StartRunRequest(flow=flow, **fields))


async def test_a_run_starts_with_an_id_of_ours_and_shows_what_it_is(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    answer = await start(channel, scope="blue", idempotency_key="k1")
    assert answer.created
    assert UUID(answer.run.run_id).version == 7
    assert (answer.run.flow, answer.run.version, answer.run.scope) == ("f", 1, "blue")
    assert (answer.run.status, answer.run.revision) == (common_pb2.RUN_STATUS_STARTED, 1)
    assert (answer.run.step_count, answer.run.remaining_steps) == (1, 1)
    assert answer.run.idempotency_key == "k1"
    assert answer.run.start_time.seconds > 0
    assert not answer.run.HasField("end_time")
    assert not answer.run.steps
    assert answer.run.input == b""


async def test_the_same_key_with_the_same_input_is_the_same_run(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    first = await start(channel, input=b'{"a": 1}', idempotency_key="order 7")
    again = await start(channel, input=b'{"a": 1}', idempotency_key="order 7")
    assert (first.created, again.created) == (True, False)
    assert first.run == again.run


async def test_the_same_key_with_another_input_is_refused_and_names_the_run(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    first = await start(channel, input=b'{"a": 1}', idempotency_key="order 7")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await start(channel, input=b'{"a":1}', idempotency_key="order 7")  # other bytes
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(refusal.value) == "IDEMPOTENCY_KEY_REUSED"
    assert list(violations_of(refusal.value)) == ["idempotency_key"]
    message = details_of(refusal.value).message
    assert '"order 7"' in message
    assert first.run.run_id in message
    assert "use a new key" in message


async def test_a_key_belongs_to_its_flow_and_its_version(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    await define(channel, "g", work=[])
    first = await start(channel, "f", idempotency_key="k")
    assert (await start(channel, "g", idempotency_key="k")).created
    request = flow_pb2.CreateFlowRequest(slug="f", steps=[flow_pb2.StepDefinition(slug="other")], new_version=True)
    await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(request)
    # The latest version: still the run that the key stands for.
    assert (await start(channel, "f", idempotency_key="k")).run.run_id == first.run.run_id
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await start(channel, "f", version=2, idempotency_key="k")
    assert reason_of(refusal.value) == "IDEMPOTENCY_KEY_REUSED"


async def test_fifty_callers_with_one_key_get_one_run(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    answers = await asyncio.gather(*(start(channel, input=b"[1]", idempotency_key="k") for _ in range(50)))
    assert len({answer.run.run_id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1


async def test_callers_of_two_coordinators_with_the_same_keys_get_the_same_runs(
    channel: grpc.aio.Channel, start_coordinator: Any
) -> None:
    from tests.integration.conftest import channel_to

    await define(channel, "f", work=[])
    async with start_coordinator() as second, channel_to(second) as other:
        keys = [f"k{number}" for number in range(100)]
        orders = (keys, keys[::-1], keys[50:] + keys[:50])
        answers = await asyncio.gather(
            *(start(at, idempotency_key=key) for order in orders for key in order for at in (channel, other))
        )
    assert len({answer.run.run_id for answer in answers}) == 100
    assert sum(answer.created for answer in answers) == 100


async def test_without_a_key_each_call_is_a_run(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    answers = await asyncio.gather(*(start(channel) for _ in range(50)))
    assert len({answer.run.run_id for answer in answers}) == 50


async def test_a_flow_without_steps_completes_at_once(channel: grpc.aio.Channel) -> None:
    await define(channel, "nothing")
    answer = await start(channel, "nothing", input=b"[1, 2]")
    assert answer.run.status == common_pb2.RUN_STATUS_COMPLETED
    assert answer.run.HasField("end_time")
    run = await get_run(channel, answer.run.run_id)
    assert (run.input, run.output) == (b"[1, 2]", b"{}")


async def test_an_empty_root_map_completes_at_once(channel: grpc.aio.Channel) -> None:
    await define(channel, "empty", each=[], again=["each"], maps=["each", "again"])
    answer = await start(channel, "empty", input=b"[]")
    assert answer.run.status == common_pb2.RUN_STATUS_COMPLETED
    assert (await get_run(channel, answer.run.run_id)).output == b'{"again":[]}'


async def test_no_input_means_an_empty_object(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    answer = await start(channel)
    assert (await get_run(channel, answer.run.run_id)).input == b"{}"


async def test_a_run_takes_the_version_it_is_asked_for(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    request = flow_pb2.CreateFlowRequest(slug="f", steps=[flow_pb2.StepDefinition(slug="other")], new_version=True)
    await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(request)
    assert (await start(channel)).run.version == 2
    assert (await start(channel, version=1)).run.version == 1


async def test_the_trace_context_of_the_call_goes_with_the_run(channel: grpc.aio.Channel, conn: Any) -> None:
    await define(channel, "f", work=[])
    stub = run_pb2_grpc.RunServiceStub(channel)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stub.StartRun(run_pb2.StartRunRequest(flow="f"), metadata=(("traceparent", traceparent),))
    await stub.StartRun(run_pb2.StartRunRequest(flow="f"), metadata=(("traceparent", "nonsense"),))
    rows = await (await conn.execute("select traceparent from pgflow.runs order by run_id")).fetchall()
    assert rows == [(traceparent,), (None,)]
