"""The composition root: refusing to start, health, reflection, limits, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psycopg
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from stepgres.v1 import flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2
from stepgres_service.config import Settings
from stepgres_service.errors import SetupError, StepgresError
from stepgres_service.server import Coordinator
from tests.integration.conftest import channel_to
from tests.support.flows import define, ended_run, eventually, start_run
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.rpc import reason_of, violations_of

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["", "stepgres.v1.FlowService", "stepgres.v1.RunService", "stepgres.v1.WorkerService"]


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    return int((await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))).status)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# --------------------------------------------------------------------------------------------------- starting


async def test_a_database_without_the_schema_is_refused_with_the_remedy(empty_database):
    with pytest.raises(SetupError, match="stepgres migrate"):
        await Coordinator(Settings(database_url=empty_database, listen="127.0.0.1:0")).start()


@pytest.mark.slow  # the pool waits 10 s
async def test_a_database_that_is_away_is_refused():
    settings = Settings(database_url="postgresql://127.0.0.1:1/x?connect_timeout=1", listen="127.0.0.1:0", pool_min=1)
    coordinator = Coordinator(settings)

    with pytest.raises(StepgresError, match=r"the database cannot be reached now .*refused"):
        await coordinator.start()


async def test_a_taken_port_is_refused_by_name(coordinator, database):
    settings = Settings(database_url=database, listen=f"127.0.0.1:{coordinator.port}")

    with pytest.raises(SetupError, match=rf"STEPGRES_LISTEN: 127.0.0.1:{coordinator.port} .*Choose another"):
        await Coordinator(settings).start()


# ---------------------------------------------------------------------------------------------------- serving


@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_is_healthy(channel, service):
    async def serving() -> bool:
        return await health(channel, service) == SERVING

    await eventually(serving)


async def test_health_follows_the_database(channel, database):
    async def serving() -> bool:
        return await health(channel) == SERVING

    async def not_serving() -> bool:
        return await health(channel, "stepgres.v1.WorkerService") == NOT_SERVING

    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    admin = await psycopg.AsyncConnection.connect(
        psycopg.conninfo.make_conninfo(database, dbname="postgres"), autocommit=True
    )
    async with admin, raw_worker(channel, ["f.a"], credits=1):
        await eventually(serving)
        await admin.execute(f'alter database "{name}" allow_connections false')
        try:
            await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
            await eventually(not_serving)
        finally:
            await admin.execute(f'alter database "{name}" allow_connections true')
        await eventually(serving)


async def reflected(channel: grpc.aio.Channel) -> set[str]:
    async def requests() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests())
    return {service.name for service in (await call.read()).list_services_response.service}


async def test_tools_find_the_services_by_reflection(channel):
    assert {*SERVICES[1:], "grpc.health.v1.Health"} <= await reflected(channel)


async def test_reflection_can_be_turned_off(start_coordinator):
    async with start_coordinator(reflection=False) as hidden, channel_to(hidden) as channel:
        error = await refused(reflected(channel))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_large_input_is_refused_by_us_and_not_by_the_transport(channel):
    await define(channel, "f", a=[])
    request = run_pb2.StartRunRequest(flow="f", input=b'"' + b"x" * (6 << 20) + b'"')

    error = await refused(run_pb2_grpc.RunServiceStub(channel).StartRun(request))

    assert reason_of(error) == "PAYLOAD_TOO_LARGE"
    assert "6291458" in violations_of(error)["input"]
    assert "1048576" in violations_of(error)["input"]


async def test_what_orjson_refuses_the_database_decides(channel):
    await define(channel, "f", a=[])
    runs = run_pb2_grpc.RunServiceStub(channel)

    for data in (b"1e400", b"[" * 2000 + b"]" * 2000, b'"\\ud800"'):
        run = (await runs.StartRun(run_pb2.StartRunRequest(flow="f", input=data))).run
        assert (await runs.GetRun(run_pb2.GetRunRequest(run_id=run.run_id))).run.input == data
    for data in (b"[1,]", b"[" * 1_000_000, b'{"a"}', b"01"):
        error = await refused(runs.StartRun(run_pb2.StartRunRequest(flow="f", input=data)))
        assert reason_of(error) == "INVALID_JSON"
        assert "send one JSON value" in violations_of(error)["input"]


async def test_limits_are_settings(start_coordinator):
    async with (
        start_coordinator(max_input_bytes=10, max_steps=2, max_dependencies=1) as strict,
        channel_to(strict) as channel,
    ):
        await define(channel, "f", a=[])
        too_long = run_pb2.StartRunRequest(flow="f", input=b'"0123456789"')
        assert reason_of(await refused(run_pb2_grpc.RunServiceStub(channel).StartRun(too_long))) == "PAYLOAD_TOO_LARGE"
        assert reason_of(await refused(define(channel, "g", a=[], b=[], c=[]))) == "TOO_MANY_STEPS"
        flows = flow_pb2_grpc.FlowServiceStub(channel)
        second, third = (flow_pb2.AddStepRequest(flow="f", step=flow_pb2.StepDefinition(slug=slug)) for slug in "bc")
        assert (await flows.AddStep(second)).created
        assert not (await flows.AddStep(second)).created
        error = await refused(flows.AddStep(third))
        assert reason_of(error) == "TOO_MANY_STEPS"
        assert violations_of(error)["step"] == 'flow "f" has 2 steps, at most 2 are allowed; split it into two flows'


async def test_flows_share_the_default_queue(start_coordinator, conn):
    async with start_coordinator(default_queue="everything") as sharing, channel_to(sharing) as channel:
        await define(channel, "f", a=[])
        await define(channel, "g", a=[])

        flow = (await flow_pb2_grpc.FlowServiceStub(channel).GetFlow(flow_pb2.GetFlowRequest(flow="g"))).flow

    assert flow.queue == "everything"
    row = await (
        await conn.execute("select count(*) from pgflow.queues where queue_name is distinct from 'plans'")
    ).fetchone()
    assert row == (1,)


async def test_a_fault_while_reading_a_frame_ends_the_stream_under_an_id(coordinator, channel, monkeypatch):
    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(coordinator.engine.progress, "report", broken)
    await define(channel, "f", a=[])
    await start_run(channel, "f")
    async with raw_worker(channel, ["f.a"], credits=1) as worker:
        (task,) = await worker.take_tasks(1)
        with structlog.testing.capture_logs() as lines:
            worker.send(heartbeat=worker_pb2.Heartbeat(progress=[worker_pb2.TaskProgress(token=task.token)]))
            error = await worker.ended()

    assert error is not None
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in (error.details() or "")
    (line,) = [line for line in lines if line["event"] == "rpc failed"]
    assert line["fault"] in (error.details() or "")
    assert isinstance(line["exc_info"].__cause__, KeyError)


# --------------------------------------------------------------------------------------------------- stopping


async def test_a_drain_sends_workers_elsewhere_and_loses_nothing(database, channel, start_coordinator):
    await define(channel, "f", a=[])
    async with start_coordinator(drain_s=10) as leaving, channel_to(leaving) as old:
        worker = RawWorker(old)
        welcome = await worker.open(["f.a"])
        worker.grant(1)
        run_id = await start_run(channel, "f")
        (task,) = await worker.take_tasks(1)

        draining = asyncio.create_task(leaving.drain())
        await worker.until(lambda: worker.drain is not None)
        assert await health(old) == NOT_SERVING
        late = RawWorker(old)
        with pytest.raises(AssertionError):
            await late.open(["f.a"])
        assert reason_of(await late.ended()) == "DRAINING"

        moved = RawWorker(channel, worker.instance_id)
        again = await moved.open(["f.a"], session_id=welcome.session_id, held=[task.token])
        assert again.resumed
        worker.cut()
        async with asyncio.timeout(5):
            await draining
    moved.complete(task, output=b'"kept"')
    await moved.take_acks(1)
    assert (await ended_run(channel, run_id)).output == b'{"a":"kept"}'
    for each in (worker, late, moved):
        await each.close()


async def test_results_that_came_before_the_stop_are_recorded(channel, start_coordinator):
    await define(channel, "f", a=[])
    run_ids = [await start_run(channel, "f") for _ in range(20)]
    async with start_coordinator() as leaving, channel_to(leaving) as old:
        worker = RawWorker(old)
        await worker.open(["f.a"])
        worker.grant(20)
        tasks = await worker.take_tasks(20)
        worker.complete(*tasks)
        await worker.take_acks(1)

    for run_id in run_ids:
        await ended_run(channel, run_id)
    await worker.close()


async def test_who_watches_is_sent_elsewhere(channel, start_coordinator):
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with start_coordinator() as leaving, channel_to(leaving) as old:
        call = run_pb2_grpc.RunServiceStub(old).WatchRun(run_pb2.WatchRunRequest(run_id=run_id))
        await call.read()
        await leaving.stop(0.2)
        error = await refused(call.read())

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) == "DRAINING"
