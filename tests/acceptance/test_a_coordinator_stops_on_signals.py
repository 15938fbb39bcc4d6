"""`stepgres serve` as an orchestrator runs it: settings, JSON logs, SIGTERM."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator

import grpc
import pytest

from stepgres.v1 import flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2, worker_pb2_grpc
from tests.acceptance.processes import STEPGRES, Running, stepgres

READY = r'"address":"(127\.0\.0\.1:\d+)"[^\n]*coordinator ready|coordinator ready[^\n]*"address":"(127\.0\.0\.1:\d+)"'


def serve(database: str, **env: str) -> Running:
    settings = {"STEPGRES_DATABASE_URL": database, "STEPGRES_LISTEN": "127.0.0.1:0", **env}
    return Running(*STEPGRES, "serve", **settings)


def address(running: Running) -> str:
    found = running.wait_for(READY)
    return found.group(1) or found.group(2)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_with_0(database, number):
    with serve(database) as running:
        target = address(running)
        assert stepgres("health", "--wait", "30", target=target).returncode == 0

        assert running.end(number) == 0

        lines = [json.loads(line) for line in running.output().splitlines()]
    assert lines[-1]["event"] == "coordinator stopped"
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)


def test_it_waits_for_workers_with_tasks_until_a_second_signal(database):
    with serve(database, STEPGRES_DRAIN_S="600") as running, grpc.insecure_channel(address(running)) as channel:
        hello = worker_pb2.Hello(
            worker="w",
            instance_id=b"x" * 16,
            min_protocol_version=1,
            max_protocol_version=1,
            subscriptions=[worker_pb2.Subscription(handlers=[worker_pb2.Handler(name="f.a")])],
        )

        flow = flow_pb2.CreateFlowRequest(slug="f", steps=[flow_pb2.StepDefinition(slug="a")])
        flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(flow)
        run_pb2_grpc.RunServiceStub(channel).StartRun(run_pb2.StartRunRequest(flow="f"))
        ended = threading.Event()

        def requests() -> Iterator[worker_pb2.WorkRequest]:
            yield worker_pb2.WorkRequest(hello=hello)
            yield worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=1))
            ended.wait()

        stream = worker_pb2_grpc.WorkerServiceStub(channel).Work(requests())
        assert next(stream).HasField("welcome")
        # A worker that holds nothing would not be waited for.
        assert next(stream).HasField("task_batch")

        running.process.send_signal(signal.SIGTERM)
        assert next(stream).HasField("drain")
        assert running.process.poll() is None

        assert running.end(signal.SIGTERM) == 0
        ended.set()


def test_a_wrong_setting_is_one_line_and_a_code(database):
    with serve(database, STEPGRES_LANES="0") as running:
        assert running.process.wait(60) != 0
        output = running.output()

    assert "STEPGRES_LANES: " in output
    assert "Traceback" not in output


def test_a_database_without_schema_is_told_with_the_remedy(empty_database):
    with serve(empty_database) as running:
        assert running.process.wait(60) != 0
        output = running.output()

    assert "stepgres migrate" in output
    assert "Traceback" not in output
