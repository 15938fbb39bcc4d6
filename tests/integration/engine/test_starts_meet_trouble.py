"""What one start does to those that share its transaction: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import psycopg
import structlog
from structlog.testing import capture_logs

from stepgres.v1 import common_pb2, run_pb2, run_pb2_grpc
from tests.support.flows import define


async def started(channel: grpc.aio.Channel, flows: Sequence[str]) -> list[str]:
    """Starts runs in one call; returns the reason for which each was refused, empty for none."""
    request = run_pb2.StartRunsRequest(requests=[run_pb2.StartRunRequest(flow=flow) for flow in flows])
    response = await run_pb2_grpc.RunServiceStub(channel).StartRuns(request)
    return [
        common_pb2.ErrorReason.Name(result.error.reason) if result.HasField("error") else ""
        for result in response.results
    ]


async def test_a_flow_that_somebody_has_locked_refuses_its_starts_and_no_other(
    channel: grpc.aio.Channel, database: str
) -> None:
    for name in ("a", "b", "c", "d"):
        await define(channel, name, work=[])
    async with await psycopg.AsyncConnection.connect(database) as holder:
        # As DeleteFlow does, for as long as its transaction takes.
        await holder.execute("select from pgflow.workflows where workflow_slug = 'c' for update")
        flows = ["a", "b", "c", "d"] * 50
        async with asyncio.timeout(10):
            reasons = await started(channel, flows)
        await holder.rollback()
    by_flow = {name: {reason for flow, reason in zip(flows, reasons, strict=True) if flow == name} for name in "abcd"}
    assert by_flow == {"a": {""}, "b": {""}, "c": {"ERROR_REASON_DATABASE_UNAVAILABLE"}, "d": {""}}
    assert await started(channel, ["c"]) == [""]


async def test_a_line_about_a_run_bears_no_other_callers_request_id(channel: grpc.aio.Channel) -> None:
    await define(channel, "empty")
    stub = run_pb2_grpc.RunServiceStub(channel)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await asyncio.gather(
            *(
                stub.StartRun(run_pb2.StartRunRequest(flow="empty"), metadata=(("x-request-id", f"caller-{n}"),))
                for n in range(5)
            )
        )
    ended = [line for line in lines if line["event"] == "run ended"]
    assert len(ended) == 5
    assert not any("request_id" in line for line in ended)
