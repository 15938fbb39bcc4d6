"""GetRunInput: the input of a run is for who executes a task of it, as long as that lasts."""

from __future__ import annotations

import grpc
import pytest

from stepgres.v1 import worker_pb2, worker_pb2_grpc
from tests.support.flows import define, start_run
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of


async def test_a_lease_that_is_over_gets_no_input_though_the_task_is_held_again(channel: grpc.aio.Channel) -> None:
    stub = worker_pb2_grpc.WorkerServiceStub(channel)
    await define(channel, "one", work=[])
    await start_run(channel, "one", {"secret": 1})
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        (first,) = await worker.take_tasks(1)
        answer = await stub.GetRunInput(worker_pb2.GetRunInputRequest(token=first.token))
        assert answer.input == b'{"secret": 1}'
        worker.fail(first, message="broken", retry_after_ms=0)
        await worker.take_acks(1)
        worker.grant(1)
        (second,) = await worker.take_tasks(1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetRunInput(worker_pb2.GetRunInputRequest(token=first.token))
        assert reason_of(refused.value) == "INVALID_TOKEN"
        answer = await stub.GetRunInput(worker_pb2.GetRunInputRequest(token=second.token))
        assert answer.input == b'{"secret": 1}'
