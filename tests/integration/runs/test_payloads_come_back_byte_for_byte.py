"""Whatever JSON goes in comes out byte for byte: inputs, outputs, items, assembled inputs and run outputs."""

from __future__ import annotations

import grpc
import pytest

from stepgres.v1 import run_pb2, run_pb2_grpc
from tests.support.flows import define, ended_run, get_run, get_task
from tests.support.raw_worker import raw_worker

#: JSON that a parse and a dump, or jsonb, would change or refuse.
ODD = [
    b"1e400",
    b"-0.0",
    b"9007199254740993",
    b"1.10",
    b"1E2",
    b'{"b": 1, "a": 2, "b": 3}',
    b' { "x" :\t[ 1 , 2 ]\n} ',
    b'"\\ud800"',
    '"\u2028 é 😀"'.encode(),
    b'"\\u00e9 \\/ \\\\u0000"',
    b"null",
    b"[" * 1500 + b"]" * 1500,
]


@pytest.mark.parametrize("payload", ODD, ids=lambda payload: payload[:20].decode(errors="replace"))
async def test_odd_json_survives_the_whole_way(channel: grpc.aio.Channel, payload: bytes) -> None:
    await define(channel, "way", one=[], all=["one"], last=["all"], maps=["all"])
    stub = run_pb2_grpc.RunServiceStub(channel)
    run_id = (await stub.StartRun(run_pb2.StartRunRequest(flow="way", input=payload))).run.run_id
    async with raw_worker(channel, ["way.one", "way.all", "way.last"], credits=10) as worker:
        (one,) = await worker.take_tasks(1)
        assert one.input == b'{"run":' + payload + b"}"
        worker.complete(one, output=b"[" + payload + b", " + payload + b"]")
        items = await worker.take_tasks(2)
        item = payload.strip() if payload.startswith(b" ") else payload
        assert [task.input for task in items] == [b'{"item":%b,"index":%d}' % (item, index) for index in range(2)]
        worker.complete(*items, output=payload)
        (last,) = await worker.take_tasks(1)
        array = b"[" + payload + b"," + payload + b"]"
        assert last.input == b'{"run":' + payload + b',"all":' + array + b"}"
        worker.complete(last, output=payload)
        run = await ended_run(channel, run_id)
    assert run.input == payload
    assert run.output == b'{"last":' + payload + b"}"
    assert [step.output for step in run.steps] == [b"[" + payload + b", " + payload + b"]", array, payload]
    for step, task_input in (("one", one.input), ("all", items[0].input), ("last", last.input)):
        assert (await get_task(channel, run_id, step)).input == task_input
    assert (await get_task(channel, run_id, "all", 1)).output == payload


async def test_an_input_of_a_mebibyte_is_taken_and_one_byte_more_is_not(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", work=[])
    stub = run_pb2_grpc.RunServiceStub(channel)
    largest = b'"' + b"x" * ((1 << 20) - 2) + b'"'
    run_id = (await stub.StartRun(run_pb2.StartRunRequest(flow="f", input=largest))).run.run_id
    assert (await get_run(channel, run_id)).input == largest
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.StartRun(run_pb2.StartRunRequest(flow="f", input=largest + b" "))
    assert "1048577" in (refusal.value.details() or "")
