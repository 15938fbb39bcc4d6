"""StartRuns: every item is accepted or refused on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2, run_pb2_grpc
from tests.support.flows import define
from tests.support.rpc import reason_of, violations_of


async def start_all(
    channel: grpc.aio.Channel, requests: Sequence[run_pb2.StartRunRequest]
) -> Sequence[run_pb2.StartRunResult]:
    response = await run_pb2_grpc.RunServiceStub(channel).StartRuns(run_pb2.StartRunsRequest(requests=requests))
    return response.results


def refusal(result: run_pb2.StartRunResult) -> tuple[int, str, str]:
    assert (result.run_id, result.created) == ("", False)
    error = result.error
    assert error.message
    return error.code, common_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"), error.field


async def test_what_is_wrong_with_one_fails_no_other(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    await define(channel, "each", item=[], maps=["item"])
    request = run_pb2.StartRunRequest
    results = await start_all(
        channel,
        [
            request(flow="f"),
            request(flow="missing"),
            request(flow="f", version=9),
            request(flow="f", input=b"{"),
            request(flow="each", input=b"{}"),
            request(flow="each", input=b"[1, 2]"),
            request(flow="f", idempotency_key="k"),
            request(flow="f", idempotency_key="k"),
            request(flow="f", idempotency_key="k", input=b"1"),
            request(flow="f", idempotency_key="k" * 129),
            request(plan=flow_pb2.CreateFlowRequest(timeout_s=0)),
            request(),
            request(flow="f"),
        ],
    )
    for position in (0, 5, 6, 12):
        assert results[position].run_id
        assert results[position].created
    assert results[7].run_id == results[6].run_id
    assert not results[7].created
    assert {position: refusal(results[position]) for position in (1, 2, 3, 4, 8, 9, 10, 11)} == {
        1: (5, "FLOW_NOT_FOUND", "flow"),
        2: (5, "FLOW_VERSION_NOT_FOUND", "version"),
        3: (3, "INVALID_JSON", "input"),
        4: (3, "TYPE_VIOLATION", "input"),
        8: (6, "IDEMPOTENCY_KEY_REUSED", "idempotency_key"),
        9: (3, "FIELD_TOO_LONG", "idempotency_key"),
        10: (3, "FIELD_OUT_OF_RANGE", "plan.timeout_s"),
        11: (3, "FIELD_REQUIRED", "flow"),
    }


async def test_a_thousand_runs_start_in_one_call_in_order(channel: grpc.aio.Channel, conn: Any) -> None:
    await define(channel, "f", work=[])
    results = await start_all(
        channel, [run_pb2.StartRunRequest(flow="f", input=str(number).encode()) for number in range(1000)]
    )
    rows = await (await conn.execute("select run_id::text, input::text from pgflow.runs order by run_id")).fetchall()
    assert rows == [(result.run_id, str(number)) for number, result in enumerate(results)]


@pytest.mark.parametrize(("count", "reason"), [(0, "FIELD_REQUIRED"), (1001, "FIELD_TOO_LONG")])
async def test_a_batch_has_one_to_a_thousand_items(channel: grpc.aio.Channel, count: int, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await start_all(channel, [run_pb2.StartRunRequest(flow="f")] * count)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == reason
    assert "1000" in violations_of(error.value)["requests"]
