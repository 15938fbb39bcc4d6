"""STEPGRES_DEFAULT_QUEUE decides where new flows live; it never changes what a flow is."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from stepgres.v1 import flow_pb2, flow_pb2_grpc
from tests.integration.conftest import channel_to
from tests.support.rpc import reason_of


def request(slug: str, **fields: Any) -> flow_pb2.CreateFlowRequest:
    return flow_pb2.CreateFlowRequest(slug=slug, steps=[flow_pb2.StepDefinition(slug="a")], **fields)


async def create(channel: grpc.aio.Channel, slug: str, **fields: Any) -> flow_pb2.CreateFlowResponse:
    response: flow_pb2.CreateFlowResponse = await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(
        request(slug, **fields)
    )
    return response


async def queue_names(conn: Any) -> list[str | None]:
    rows = await (
        await conn.execute(
            "select queue_name from pgflow.queues where queue_name is distinct from 'plans' order by 1 nulls first"
        )
    ).fetchall()
    return [row[0] for row in rows]


async def test_a_flow_from_before_the_setting_is_the_same_flow_after_it(start_coordinator, conn):
    async with start_coordinator() as before, channel_to(before) as channel:
        first = await create(channel, "etl")
    async with start_coordinator(default_queue="common") as after, channel_to(after) as channel:
        again = await create(channel, "etl")

    assert (first.created, again.created) == (True, False)
    assert again.flow.queue == ""
    assert await queue_names(conn) == [None]


async def test_a_flow_of_the_default_queue_is_the_same_flow_under_another_default(start_coordinator, conn):
    async with start_coordinator(default_queue="common") as sharing, channel_to(sharing) as channel:
        first = await create(channel, "etl")
    async with start_coordinator(default_queue="other") as elsewhere, channel_to(elsewhere) as channel:
        again = await create(channel, "etl")

    assert (first.created, again.created) == (True, False)
    assert (first.flow.queue, again.flow.queue) == ("common", "common")
    assert await queue_names(conn) == ["common"]


async def test_psql_and_a_coordinator_with_a_default_queue_mean_the_same_flow(start_coordinator, conn):
    async with start_coordinator(default_queue="common") as sharing, channel_to(sharing) as channel:
        await create(channel, "etl")
        await conn.execute("select pgflow.create_flow('etl')")
        await conn.execute("select pgflow.add_step('etl', 'a')")
        await conn.execute("select pgflow.create_flow('by_hand')")
        await conn.execute("select pgflow.add_step('by_hand', 'a')")

        assert not (await create(channel, "by_hand")).created


async def test_a_flow_that_was_read_can_be_sent_back(start_coordinator):
    async with start_coordinator(default_queue="common") as sharing, channel_to(sharing) as channel:
        queue = (await create(channel, "etl")).flow.queue

        assert not (await create(channel, "etl", queue=queue)).created


async def test_a_new_version_stays_in_the_queue_of_its_flow(start_coordinator, conn):
    async with start_coordinator() as before, channel_to(before) as channel:
        await create(channel, "etl")
    async with start_coordinator(default_queue="common") as after, channel_to(after) as channel:
        second = await create(channel, "etl", max_attempts=5, new_version=True)

    assert (second.flow.version, second.flow.queue) == (2, "")
    assert await queue_names(conn) == [None]


async def test_a_queue_that_was_asked_for_is_part_of_the_flow(start_coordinator):
    async with start_coordinator(default_queue="common") as sharing, channel_to(sharing) as channel:
        await create(channel, "etl", queue="mine")

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(channel, "etl")

    assert reason_of(refused.value) == "FLOW_EXISTS"
    assert "queue is mine, asked for: not set" in str(refused.value.details())
