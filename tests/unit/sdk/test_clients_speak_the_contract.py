"""AsyncClient: requests as they go out, answers as they come back, and what is tried again."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2
from stepgres_worker import (
    AlreadyExists,
    AsyncClient,
    DeadlineExceeded,
    NotFound,
    RequestError,
    ResourceExhausted,
    RunSpec,
    Step,
    Unavailable,
)
from stepgres_worker.testing import FakeTransport


@pytest.fixture
def client(fake: FakeTransport) -> AsyncClient:
    """A client of the fake coordinator."""
    return AsyncClient(transport=fake)


async def test_a_flow_goes_out_whole_and_comes_back_whole(client: AsyncClient, fake: FakeTransport) -> None:
    info = await client.create_flow(
        "ai",
        [
            Step("fetch", params={"url": "x", "n": 3, "deep": [{"a": 1.5}]}, timeout_s=9),
            Step("double", ["fetch"], "map", initial_tasks=0, handler="lib.double", max_attempts=1, queue="q"),
        ],
        max_attempts=7,
        base_delay_s=0,
        new_version=True,
    )
    ((_, request),) = fake.calls
    assert request.HasField("max_attempts")
    assert not request.HasField("timeout_s")
    assert request.HasField("base_delay_s")
    assert request.new_version
    fetch, double = request.steps
    assert (fetch.step_type, double.step_type) == (common_pb2.STEP_TYPE_SINGLE, common_pb2.STEP_TYPE_MAP)
    assert double.HasField("initial_tasks")
    assert not fetch.HasField("initial_tasks")
    assert info.created
    assert info.steps[0].params == {"url": "x", "n": 3, "deep": [{"a": 1.5}]}
    assert type(info.steps[0].params["n"]) is int
    assert (info.steps[1].depends_on, info.steps[1].step_type, info.steps[1].initial_tasks) == (("fetch",), "map", 0)
    assert info.to_dict()["steps"][0]["timeout_s"] == 9


async def test_params_that_would_lose_digits_are_refused_at_once(client: AsyncClient, fake: FakeTransport) -> None:
    with pytest.raises(ValueError, match=r"params\.account\[1\]: 9007199254740993 is beyond"):
        await client.create_flow("f", [Step("a", params={"account": [1, 2**53 + 1]})])
    with pytest.raises(ValueError, match="'single' or 'map'"):
        await client.create_flow("f", [Step("a", step_type="fan")])
    assert fake.calls == []


async def test_add_step_and_delete_flow(client: AsyncClient, fake: FakeTransport) -> None:
    fake.answer("AddStep", lambda request: flow_pb2.AddStepResponse(step=flow_pb2.Step(definition=request.step)))
    fake.answer("DeleteFlow", lambda request: flow_pb2.DeleteFlowResponse(cancelled_run_count=3 * request.force))
    step = await client.add_step("f", "b", depends_on=["a"], step_type="map", timeout_s=5)
    assert (step.slug, step.depends_on, step.step_type, step.timeout_s) == ("b", ("a",), "map", 5)
    assert (await client.delete_flow("f"), await client.delete_flow("f", force=True)) == (0, 3)


async def test_inputs_are_encoded_once_and_bytes_pass_through(client: AsyncClient, fake: FakeTransport) -> None:
    fake.answer("StartRun", lambda request: run_pb2.StartRunResponse(run=run_pb2.Run(run_id="r"), created=True))
    run = await client.start_run("f", {"ü": 2**70})
    assert (run.id, run.created) == ("r", True)
    await client.start_run("f", b'{"a": 1.50}', version=2, idempotency_key="k", scope="s")
    await client.start_run("f")
    first, second, third = (request for _, request in fake.calls)
    assert first.input == '{"ü":1180591620717411303424}'.encode()
    assert (second.input, second.version, second.idempotency_key, second.scope) == (b'{"a": 1.50}', 2, "k", "s")
    assert third.input == b"{}"


async def test_many_runs_go_out_in_calls_of_a_thousand(client: AsyncClient, fake: FakeTransport) -> None:
    def start(request: run_pb2.StartRunsRequest) -> run_pb2.StartRunsResponse:
        results = [
            run_pb2.StartRunResult(run_id=item.flow, created=True)
            if item.flow != "bad"
            else run_pb2.StartRunResult(
                error=run_pb2.ItemError(
                    code=5, reason=common_pb2.ERROR_REASON_FLOW_NOT_FOUND, message="flow: no flow bad", field="flow"
                )
            )
            for item in request.requests
        ]
        return run_pb2.StartRunsResponse(results=results)

    fake.answer("StartRuns", start)
    specs = [RunSpec("bad" if index == 1500 else f"f{index}") for index in range(2345)]
    results = await client.start_runs(iter(specs))
    assert [len(request.requests) for _, request in fake.calls] == [1000, 1000, 345]
    assert [result.run_id for result in results] == [f"f{i}" if i != 1500 else "" for i in range(2345)]
    error = results[1500].error
    assert isinstance(error, NotFound)
    assert (error.reason, error.field) == ("FLOW_NOT_FOUND", "flow")
    fake.calls.clear()
    await client.start_runs([RunSpec("f", "x" * 1_000_000)] * 25)
    assert [len(request.requests) for _, request in fake.calls] == [10, 10, 5]
    assert await client.start_runs([]) == []


async def test_reads_become_plain_values(client: AsyncClient, fake: FakeTransport) -> None:
    run = run_pb2.Run(
        run_id="r",
        flow="f",
        version=2,
        status=common_pb2.RUN_STATUS_FAILED,
        revision=9,
        input=b'{"a":1}',
        step_count=2,
        remaining_steps=1,
        steps=[
            run_pb2.StepState(
                step="one",
                status=common_pb2.STEP_STATUS_COMPLETED,
                counts=run_pb2.TaskCounts(total=3, completed=3),
                output=b"[1,2,3]",
                step_type=common_pb2.STEP_TYPE_MAP,
            ),
            run_pb2.StepState(step="two", step_index=1, status=common_pb2.STEP_STATUS_FAILED, depends_on=["one"]),
        ],
        error=run_pb2.RunError(step="two", code="BOOM", message="m", attempt=3),
    )
    run.start_time.FromDatetime(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    fake.answer("GetRun", lambda request: run_pb2.GetRunResponse(run=run))
    snapshot = await client.get_run("r")
    assert snapshot.status == "failed"
    assert snapshot.status.terminal
    assert snapshot.steps["one"].counts.completed == 3
    assert snapshot.steps["two"].counts.total is None
    assert (snapshot.steps["one"].output, snapshot.input, snapshot.output) == ([1, 2, 3], {"a": 1}, None)
    assert snapshot.error is not None
    assert (snapshot.error.code, snapshot.end_time) == ("BOOM", None)
    plain = json.loads(snapshot.to_json())
    assert plain["steps"]["one"]["output"] == [1, 2, 3]
    assert plain["input"] == {"a": 1}
    assert "output" not in plain
    assert plain["start_time"] == "2026-01-01T00:00:00+00:00"
    assert fake.calls[0][1].view == common_pb2.VIEW_FULL


async def test_lists_are_pages(client: AsyncClient, fake: FakeTransport) -> None:
    fake.answer(
        "ListRuns",
        lambda request: run_pb2.ListRunsResponse(runs=[run_pb2.Run(run_id="a", status=1)], next_page_token="next"),
    )
    fake.answer("ListTasks", lambda request: run_pb2.ListTasksResponse(tasks=[run_pb2.Task(task_index=5, status=2)]))
    fake.answer("ListFlows", lambda request: flow_pb2.ListFlowsResponse(flows=[flow_pb2.Flow(slug="f")]))
    when = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    page = await client.list_runs(flow="f", status="started", start_time_min=when, page_size=7)
    assert ([run.run_id for run in page], page.next_page_token, len(page)) == (["a"], "next", 1)
    request = fake.calls[0][1]
    assert (request.status, request.page_size) == (common_pb2.RUN_STATUS_STARTED, 7)
    assert request.start_time_min.ToDatetime(datetime.UTC) == when
    assert not request.HasField("start_time_max")
    (task,) = await client.list_tasks("r", step="s", status="queued")
    assert (task.task_index, task.status) == (5, "started")
    assert [flow.slug for flow in await client.list_flows(slug_prefix="f")] == ["f"]
    with pytest.raises(ValueError, match="nonsense"):
        await client.list_runs(status="nonsense")


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, error: Exception, times: int, answer: Any) -> None:
        self.error, self.left, self.answer, self.calls = error, times, answer, 0

    def __call__(self, request: Any) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return self.answer


STARTED = run_pb2.StartRunResponse(run=run_pb2.Run(run_id="r"))


@pytest.mark.parametrize(
    "gone", [Unavailable("gone", code="UNAVAILABLE"), DeadlineExceeded("late", code="DEADLINE_EXCEEDED")]
)
async def test_what_may_be_repeated_is(client: AsyncClient, fake: FakeTransport, gone: RequestError) -> None:
    for name, answer, call in [
        ("GetFlow", flow_pb2.GetFlowResponse(), lambda: client.get_flow("f")),
        ("StartRun", STARTED, lambda: client.start_run("f", idempotency_key="k")),
        ("CancelRun", run_pb2.CancelRunResponse(), lambda: client.cancel_run("r")),
        ("RetryRun", run_pb2.RetryRunResponse(), lambda: client.retry_run("r")),
    ]:
        flaky = Flaky(gone, 2, answer)
        fake.answer(name, flaky)
        await call()
        assert flaky.calls == 3, name


async def test_what_may_not_be_repeated_is_not(client: AsyncClient, fake: FakeTransport) -> None:
    gone = Unavailable("gone", code="UNAVAILABLE")
    for name, call in [
        ("StartRun", lambda: client.start_run("f")),
        ("StartRuns", lambda: client.start_runs([RunSpec("f", idempotency_key="k"), RunSpec("f")])),
        ("DeleteFlow", lambda: client.delete_flow("f")),
    ]:
        flaky = Flaky(gone, 1, None)
        fake.answer(name, flaky)
        with pytest.raises(Unavailable):
            await call()
        assert flaky.calls == 1, name


async def test_what_was_not_begun_is_tried_again(client: AsyncClient, fake: FakeTransport) -> None:
    flaky = Flaky(ResourceExhausted("full", code="RESOURCE_EXHAUSTED", reason="OVERLOADED"), 1, STARTED)
    fake.answer("StartRun", flaky)
    await client.start_run("f")
    assert flaky.calls == 2


async def test_refusals_are_final_and_the_deadline_holds(client: AsyncClient, fake: FakeTransport) -> None:
    flaky = Flaky(AlreadyExists("differs"), 1, None)
    fake.answer("CreateFlow", flaky)
    with pytest.raises(AlreadyExists):
        await client.create_flow("f")
    assert flaky.calls == 1
    flaky = Flaky(Unavailable("gone"), 10**9, None)
    fake.answer("GetFlow", flaky)
    with pytest.raises(Unavailable):
        await AsyncClient(transport=fake, timeout_s=0.2).get_flow("f")
    assert 1 <= flaky.calls < 100
