"""Client: the same calls, blocking, from any thread but the loop's own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2
from stepgres_worker import Client, NotFound, RunFailed, WrongThreadError
from stepgres_worker.testing import FakeTransport


@pytest.fixture
def served() -> FakeTransport:
    """Flows, and a run that fails."""
    fake = FakeTransport()
    fake.answer("GetFlow", lambda request: flow_pb2.GetFlowResponse(flow=flow_pb2.Flow(slug=request.flow)))
    fake.answer("StartRun", lambda request: run_pb2.StartRunResponse(run=run_pb2.Run(run_id="r"), created=True))
    fake.answer("CancelRun", lambda request: run_pb2.CancelRunResponse(cancelled=True))

    async def watch(request: run_pb2.WatchRunRequest) -> AsyncGenerator[Any, None]:
        run = run_pb2.Run(run_id=request.run_id, status=common_pb2.RUN_STATUS_STARTED)
        yield run_pb2.WatchRunResponse(snapshot=run, cursor="1")
        await asyncio.sleep(0)
        run.status = common_pb2.RUN_STATUS_FAILED
        run.error.code = "BOOM"
        yield run_pb2.WatchRunResponse(end=run, cursor="2")

    fake.answer_watch(watch)
    return fake


def test_calls_handles_and_watches(served: FakeTransport) -> None:
    with Client(transport=served) as client:
        assert client.get_flow("f").slug == "f"
        run = client.start_run("f", {"a": 1})
        assert (run.id, run.created, repr(run)) == ("r", True, "Run('r')")
        assert run.cancel() is True
        assert [snap.status for snap in run.watch()] == ["started", "failed"]
        assert [snap.cursor for snap in client.watch("r")] == ["1", "2"]
        with pytest.raises(RunFailed, match="BOOM"):
            client.run("r").result(timeout=10)


def test_a_watch_may_be_left_early(served: FakeTransport) -> None:
    with Client(transport=served) as client:
        for snap in client.watch("r"):
            assert snap.cursor == "1"
            break
        assert client.get_flow("f").slug == "f"


def test_errors_arrive_as_they_are(served: FakeTransport) -> None:
    def refuse(_request: Any) -> Any:
        raise NotFound("no flow x", code="NOT_FOUND", reason="FLOW_NOT_FOUND")

    served.answer("GetFlow", refuse)
    with Client(transport=served) as client, pytest.raises(NotFound) as error:
        client.get_flow("x")
    assert error.value.reason == "FLOW_NOT_FOUND"


def test_many_threads_share_one_loop(served: FakeTransport) -> None:
    with Client(transport=served) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        slugs = [f"f{index}" for index in range(100)]
        assert [info.slug for info in pool.map(client.get_flow, slugs)] == slugs
    assert len([thread for thread in threading.enumerate() if thread.name == "stepgres-loop"]) == 1


async def test_a_blocking_client_works_beside_a_running_loop(served: FakeTransport) -> None:
    """As in a notebook, whose loop runs while a cell blocks."""
    with Client(transport=served) as client:
        assert client.get_flow("f").slug == "f"


def test_on_its_own_loop_it_refuses_to_wait_for_itself(served: FakeTransport) -> None:
    client = Client(transport=served)

    async def inside() -> None:
        client.get_flow("f")

    with pytest.raises(WrongThreadError, match="AsyncClient"):
        client.wait(inside())
