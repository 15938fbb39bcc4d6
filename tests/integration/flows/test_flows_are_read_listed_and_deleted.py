"""GetFlow, ListFlows and DeleteFlow over gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc
from stepgres_service.api import flow_servicer
from tests.support.flows import get_run, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of, violations_of


@pytest.fixture
def flows(channel: grpc.aio.Channel) -> flow_pb2_grpc.FlowServiceAsyncStub:
    return flow_pb2_grpc.FlowServiceStub(channel)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def create(flows: flow_pb2_grpc.FlowServiceAsyncStub, *slugs: str, steps: int = 1) -> None:
    for slug in slugs:
        definitions = [flow_pb2.StepDefinition(slug=f"s{i}") for i in range(steps)]
        await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug=slug, steps=definitions))


async def listed(flows: flow_pb2_grpc.FlowServiceAsyncStub, **fields: Any) -> list[list[str]]:
    """Slugs by page."""
    request = flow_pb2.ListFlowsRequest(**fields)
    pages = []
    while True:
        page = await flows.ListFlows(request)
        pages.append([flow.slug for flow in page.flows])
        if not page.next_page_token:
            return pages
        request.page_token = page.next_page_token


# ---------------------------------------------------------------------------------------------------- reading


async def test_an_unknown_flow_is_not_found(flows):
    error = await refused(flows.GetFlow(flow_pb2.GetFlowRequest(flow="nobody")))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "FLOW_NOT_FOUND")
    assert "nobody" in violations_of(error)["flow"]


async def test_an_unknown_version_is_not_found_and_the_latest_is_named(flows):
    await create(flows, "f")

    error = await refused(flows.GetFlow(flow_pb2.GetFlowRequest(flow="f", version=7)))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "FLOW_VERSION_NOT_FOUND")
    assert "7" in violations_of(error)["version"]
    assert "latest is 1" in violations_of(error)["version"]


@pytest.mark.parametrize(
    ("request_", "path", "reason"),
    [
        (flow_pb2.GetFlowRequest(), "flow", "FIELD_REQUIRED"),
        (flow_pb2.GetFlowRequest(flow="1"), "flow", "INVALID_SLUG"),
        (flow_pb2.GetFlowRequest(flow="f", version=-1), "version", "FIELD_OUT_OF_RANGE"),
    ],
)
async def test_a_wrong_name_or_version_is_refused(flows, request_, path, reason):
    error = await refused(flows.GetFlow(request_))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert path in violations_of(error)


# ---------------------------------------------------------------------------------------------------- lists


async def test_flows_are_listed_bytewise_in_pages(flows):
    await create(flows, "b", "a", "B", "_x", "c")

    assert await listed(flows, page_size=2) == [["B", "_x"], ["a", "b"], ["c"]]
    assert await listed(flows) == [["B", "_x", "a", "b", "c"]]
    assert await listed(flows, page_size=5) == [["B", "_x", "a", "b", "c"]]
    assert await listed(flows, page_size=5000) == [["B", "_x", "a", "b", "c"]]


async def test_no_flows_are_one_empty_page(flows):
    assert await listed(flows) == [[]]


async def test_a_prefix_is_taken_literally(flows):
    await create(flows, "etl_a", "etlxb", "ETL_c")

    assert await listed(flows, slug_prefix="etl_") == [["etl_a"]]
    assert await listed(flows, slug_prefix="%") == [[]]
    assert await listed(flows, slug_prefix="etl", page_size=1) == [["etl_a"], ["etlxb"]]


async def test_a_basic_list_has_counts_and_a_full_one_has_steps(flows):
    await create(flows, "f", steps=3)

    (basic,) = (await flows.ListFlows(flow_pb2.ListFlowsRequest())).flows
    (full,) = (await flows.ListFlows(flow_pb2.ListFlowsRequest(view=common_pb2.VIEW_FULL))).flows

    assert (basic.step_count, len(basic.steps), list(basic.topological_order)) == (3, 0, [])
    assert (full.step_count, len(full.steps)) == (3, 3)
    assert list(full.topological_order) == ["s0", "s1", "s2"]


async def test_a_list_shows_the_latest_version_once(flows):
    await create(flows, "f")
    await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="f", max_attempts=9, new_version=True))

    (flow,) = (await flows.ListFlows(flow_pb2.ListFlowsRequest())).flows

    assert (flow.version, flow.max_attempts, flow.step_count) == (2, 9, 0)


async def test_a_page_that_grows_too_large_ends_early(flows, monkeypatch):
    monkeypatch.setattr(flow_servicer, "_MAX_PAGE_BYTES", 300)
    await create(flows, "a", "b", "c", steps=3)

    pages = await listed(flows, view=common_pb2.VIEW_FULL)

    assert [slug for page in pages for slug in page] == ["a", "b", "c"]
    assert len(pages) > 1


@pytest.mark.parametrize("token", ["nonsense", "é", "W10", "WyJ4IiwiYSJd", "x" * 10_000])
async def test_a_token_that_we_did_not_make_is_refused(flows, token):
    error = await refused(flows.ListFlows(flow_pb2.ListFlowsRequest(page_token=token)))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    assert "leave it empty" in violations_of(error)["page_token"]


async def test_a_token_belongs_to_its_list_and_filters_but_not_to_its_page_size(flows, channel):
    await create(flows, "a", "b", "c")
    token = (await flows.ListFlows(flow_pb2.ListFlowsRequest(page_size=1))).next_page_token

    other = await refused(flows.ListFlows(flow_pb2.ListFlowsRequest(page_token=token, slug_prefix="b")))
    foreign = await refused(run_pb2_grpc.RunServiceStub(channel).ListRuns(run_pb2.ListRunsRequest(page_token=token)))

    assert {reason_of(other), reason_of(foreign)} == {"INVALID_PAGE_TOKEN"}
    again = await flows.ListFlows(flow_pb2.ListFlowsRequest(page_token=token, page_size=2))
    assert [flow.slug for flow in again.flows] == ["b", "c"]


async def test_a_negative_page_size_is_refused(flows):
    error = await refused(flows.ListFlows(flow_pb2.ListFlowsRequest(page_size=-1)))

    assert reason_of(error) == "FIELD_OUT_OF_RANGE"
    assert "use 0 or more" in violations_of(error)["page_size"]


# ---------------------------------------------------------------------------------------------------- deleting


async def test_a_deleted_flow_is_gone_at_once_and_its_slug_is_free(flows):
    await create(flows, "f", "g", steps=2)

    assert (await flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f"))).cancelled_run_count == 0

    assert reason_of(await refused(flows.GetFlow(flow_pb2.GetFlowRequest(flow="f")))) == "FLOW_NOT_FOUND"
    assert reason_of(await refused(flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f")))) == "FLOW_NOT_FOUND"
    assert await listed(flows) == [["g"]]
    again = await flows.CreateFlow(flow_pb2.CreateFlowRequest(slug="f"))
    assert (again.created, again.flow.version, again.flow.step_count) == (True, 1, 0)


async def test_a_flow_with_active_runs_stays(flows, channel):
    await create(flows, "f")
    run_id = await start_run(channel, "f")

    error = await refused(flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f")))

    assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "FLOW_HAS_ACTIVE_RUNS")
    assert "1 active run" in (error.details() or "")
    assert "force" in (error.details() or "")
    assert (await get_run(channel, run_id)).status == common_pb2.RUN_STATUS_STARTED


async def test_force_cancels_what_runs_and_tells_the_worker(flows, channel):
    await create(flows, "f")
    async with raw_worker(channel, ["f.s0"], credits=1) as worker:
        run_ids = [await start_run(channel, "f") for _ in range(3)]
        (task,) = await worker.take_tasks(1)

        deleted = await flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f", force=True))

        assert deleted.cancelled_run_count == 3
        await worker.until(lambda: task.token in worker.cancelled)
    error = await refused(get_run(channel, run_ids[0]))
    assert reason_of(error) == "RUN_NOT_FOUND"


async def test_deleters_and_creators_at_once_leave_a_flow_or_none(flows):
    await create(flows, "f", steps=2)
    refusals = set()

    async def delete() -> None:
        try:
            await flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f", force=True))
        except grpc.aio.AioRpcError as error:
            refusals.add(reason_of(error))

    await asyncio.gather(*[delete() if i % 2 else create(flows, "f", steps=2) for i in range(20)])

    assert refusals <= {"FLOW_NOT_FOUND"}
    assert await listed(flows) in ([[]], [["f"]])
