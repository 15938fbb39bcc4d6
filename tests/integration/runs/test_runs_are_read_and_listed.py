"""GetRun and ListRuns: views, counts, filters and pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc
from tests.support.flows import cancel_run, define, ended_run, get_run, start_run, start_runs
from tests.support.raw_worker import raw_worker
from tests.support.rpc import reason_of

COMPLETED, STARTED = common_pb2.RUN_STATUS_COMPLETED, common_pb2.RUN_STATUS_STARTED
FAILED, CANCELLED = common_pb2.RUN_STATUS_FAILED, common_pb2.RUN_STATUS_CANCELLED


async def list_runs(channel: grpc.aio.Channel, **fields: Any) -> run_pb2.ListRunsResponse:
    return await run_pb2_grpc.RunServiceStub(channel).ListRuns(run_pb2.ListRunsRequest(**fields))


async def all_pages(channel: grpc.aio.Channel, **fields: Any) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page = await list_runs(channel, page_token=token, **fields)
        found += [run.run_id for run in page.runs]
        token = page.next_page_token
        if not token:
            return found


async def test_a_run_shows_its_steps_their_counts_and_dependencies(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", first=[], each=["first"], last=["each", "first"], maps=["each"])
    run_id = await start_run(channel, "f", {"day": 1})
    async with raw_worker(channel, ["f.first", "f.each"], credits=3) as worker:
        worker.complete(*await worker.take_tasks(1), output=b"[1, 2, 3, 4]")
        first, _ = await worker.take_tasks(2)
        worker.complete(first, output=b'"done"')
        await worker.take_acks(2)
        run = await get_run(channel, run_id)
    assert [step.step for step in run.steps] == ["first", "each", "last"]
    assert [list(step.depends_on) for step in run.steps] == [[], ["first"], ["first", "each"]]
    each = run.steps[1]
    assert each.step_type == common_pb2.STEP_TYPE_MAP
    assert each.status == common_pb2.STEP_STATUS_STARTED
    assert (each.counts.total, each.counts.open, each.counts.completed) == (4, 3, 1)
    assert each.HasField("start_time")
    assert not each.HasField("end_time")
    assert run.steps[2].remaining_deps == 1
    assert (run.remaining_steps, run.step_count) == (2, 3)
    assert run.steps[0].output == b"[1, 2, 3, 4]"
    assert each.output == b""  # not completed yet
    assert run.output == b""
    assert run.revision == max(step.revision for step in run.steps)


async def test_a_map_whose_array_is_not_known_has_no_total(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", first=[], each=["first"], maps=["each"])
    run = await get_run(channel, await start_run(channel, "f"))
    assert not run.steps[1].counts.HasField("total")
    assert run.steps[0].counts.total == 1


async def test_a_step_that_nobody_serves_shows_as_unserved(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[], b=[])
    run_id = await start_run(channel, "f")
    scoped = await start_run(channel, "f", scope="blue")
    async with raw_worker(channel, ["f.a"]):
        assert [step.unserved for step in (await get_run(channel, run_id)).steps] == [False, True]
        assert [step.unserved for step in (await get_run(channel, scoped)).steps] == [True, True]


async def test_basic_leaves_the_payloads_out(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a"], credits=1) as worker:
        worker.complete(*await worker.take_tasks(1))
        await ended_run(channel, run_id)
    request = run_pb2.GetRunRequest(run_id=run_id.upper(), view=common_pb2.VIEW_BASIC)
    run = (await run_pb2_grpc.RunServiceStub(channel).GetRun(request)).run
    assert run.run_id == run_id
    assert run.status == COMPLETED
    assert len(run.steps) == 1
    assert (run.input, run.output, run.steps[0].output) == (b"", b"", b"")
    full = await get_run(channel, run_id)
    assert (full.input, full.output, full.steps[0].output) == (b"{}", b'{"a":1}', b"1")


async def test_a_failed_run_says_which_step_failed_and_why(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", each=[], after=["each"], maps=["each"], step={"max_attempts": 1})
    run_id = await start_run(channel, "f", [10, 20, 30])
    async with raw_worker(channel, ["f.each"], credits=3) as worker:
        tasks = await worker.take_tasks(3)
        worker.complete(tasks[0])
        await worker.take_acks(1)
        worker.fail(tasks[1], code="NO_PAPER", message="the tray is empty")
        await worker.take_acks(1)
        run = await ended_run(channel, run_id)
    assert run.status == FAILED
    error = run.error
    assert (error.step, error.task_index, error.attempt) == ("each", tasks[1].task_index, 1)
    assert (error.code, error.message) == ("NO_PAPER", "the tray is empty")
    each, after = run.steps
    assert (each.status, after.status) == (common_pb2.STEP_STATUS_FAILED, common_pb2.STEP_STATUS_CANCELLED)
    counts = each.counts
    assert (counts.total, counts.open, counts.completed, counts.failed, counts.cancelled) == (3, 0, 1, 1, 1)


async def test_payloads_beyond_a_response_are_refused_with_a_way_out(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(channel, "f", a=[], b=["a"])
    run_id = await start_run(channel, "f")
    async with raw_worker(channel, ["f.a", "f.b"], credits=2) as worker:
        for _ in range(2):
            worker.complete(*await worker.take_tasks(1), output=b'"' + b"x" * 1000 + b'"')
        await ended_run(channel, run_id)
    set_limit(monkeypatch, 2500)
    run = await get_run(channel, run_id)  # the outputs of the steps do not fit beside the run's
    assert len(run.output) == len(b'{"b":""}') + 1000
    assert [step.output for step in run.steps] == [b"", b""]
    set_limit(monkeypatch, 900)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await get_run(channel, run_id)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refusal.value) == "PAYLOAD_TOO_LARGE"
    assert "use BASIC" in (refusal.value.details() or "")
    assert (await list_runs(channel, view=common_pb2.VIEW_FULL)).runs[0].output == b""


def set_limit(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    from stepgres_service.engine import run_refusals, runs
    from stepgres_service.store import runs as store
    from stepgres_service.store import task_reads

    for module in (run_refusals, runs, store, task_reads):
        monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", limit)


async def test_lists_are_newest_first_and_filtered(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    await define(channel, "g", a=[])
    await define(channel, "nothing")
    f = await start_runs(channel, "f", 3)
    g = [await start_run(channel, "g")]
    done = [await start_run(channel, "nothing")]
    await cancel_run(channel, f[1])
    assert await all_pages(channel) == [*done, *g, *f[::-1]]
    assert await all_pages(channel, flow="f") == f[::-1]
    assert await all_pages(channel, flow="unknown") == []
    assert await all_pages(channel, status=CANCELLED) == [f[1]]
    assert await all_pages(channel, status=COMPLETED) == done
    assert await all_pages(channel, status=STARTED) == [*g, f[2], f[0]]
    assert await all_pages(channel, flow="f", status=STARTED) == [f[2], f[0]]
    assert await all_pages(channel, flow="f", version=1) == f[::-1]
    assert await all_pages(channel, flow="f", version=2) == []


async def test_lists_filter_by_the_time_of_start(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    first, second, third = [await start_run(channel, "f") for _ in range(3)]
    moment = (await get_run(channel, second)).start_time
    assert await all_pages(channel, start_time_min=moment) == [third, second]
    assert await all_pages(channel, start_time_max=moment) == [first]
    assert await all_pages(channel, start_time_min=moment, start_time_max=moment) == []


async def test_a_list_of_versions(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    old = await start_run(channel, "f")
    request = flow_pb2.CreateFlowRequest(slug="f", steps=[flow_pb2.StepDefinition(slug="b")], new_version=True)
    await flow_pb2_grpc.FlowServiceStub(channel).CreateFlow(request)
    new = await start_run(channel, "f")
    assert await all_pages(channel, flow="f", version=1) == [old]
    assert await all_pages(channel, flow="f", version=2) == [new]


@pytest.mark.parametrize("size", [1, 4, 7, 100])
async def test_pages_of_any_size_hold_every_run_once(channel: grpc.aio.Channel, size: int) -> None:
    await define(channel, "f", a=[])
    runs = await start_runs(channel, "f", 7)
    assert await all_pages(channel, page_size=size) == runs[::-1]
    assert await all_pages(channel, page_size=size, view=common_pb2.VIEW_FULL) == runs[::-1]


async def test_a_page_has_fifty_runs_and_never_more_than_a_thousand(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    for _ in range(2):
        await start_runs(channel, "f", 600)
    assert len((await list_runs(channel)).runs) == 50
    assert len((await list_runs(channel, page_size=5000)).runs) == 1000


async def test_a_page_token_belongs_to_its_filters(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    await start_runs(channel, "f", 3)
    token = (await list_runs(channel, flow="f", page_size=1)).next_page_token
    assert (await list_runs(channel, flow="f", page_size=2, page_token=token)).runs
    others: list[dict[str, Any]] = [{"flow": ""}, {"flow": "f", "status": STARTED}, {"flow": "f", "version": 1}]
    for other in others:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await list_runs(channel, page_token=token, **other)
        assert reason_of(refusal.value) == "INVALID_PAGE_TOKEN"


async def test_runs_that_start_meanwhile_move_no_page(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    runs = await start_runs(channel, "f", 4)
    page = await list_runs(channel, page_size=2)
    await start_runs(channel, "f", 3)
    rest = await list_runs(channel, page_size=50, page_token=page.next_page_token)
    assert [run.run_id for run in [*page.runs, *rest.runs]] == runs[::-1]


async def test_full_pages_end_where_a_response_does(channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    await define(channel, "f", a=[])
    runs = [await start_run(channel, "f", "x" * 1000) for _ in range(5)]
    set_limit(monkeypatch, 2500)
    page = await list_runs(channel, view=common_pb2.VIEW_FULL)
    assert [run.run_id for run in page.runs] == runs[:2:-1]
    assert all(len(run.input) == 1002 for run in page.runs)
    assert await all_pages(channel, view=common_pb2.VIEW_FULL) == runs[::-1]
    basic = await list_runs(channel)
    assert [run.input for run in basic.runs] == [b""] * 5


async def test_runs_go_with_their_flow(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    await flow_pb2_grpc.FlowServiceStub(channel).DeleteFlow(flow_pb2.DeleteFlowRequest(flow="f", force=True))
    stub = run_pb2_grpc.RunServiceStub(channel)
    calls: list[Callable[[], Any]] = [
        lambda: stub.GetRun(run_pb2.GetRunRequest(run_id=run_id)),
        lambda: stub.ListTasks(run_pb2.ListTasksRequest(run_id=run_id)),
        lambda: stub.GetTask(run_pb2.GetTaskRequest(run_id=run_id, step="a")),
        lambda: stub.CancelRun(run_pb2.CancelRunRequest(run_id=run_id)),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call()
        assert reason_of(refusal.value) == "RUN_NOT_FOUND"
    assert await all_pages(channel) == []
    await define(channel, "f", a=[])  # the slug is free, and what had it is not seen through it
    assert await all_pages(channel, flow="f") == []


async def test_a_step_added_later_is_no_part_of_a_run(channel: grpc.aio.Channel) -> None:
    await define(channel, "f", a=[])
    run_id = await start_run(channel, "f")
    step = flow_pb2.StepDefinition(slug="b", depends_on=["a"])
    await flow_pb2_grpc.FlowServiceStub(channel).AddStep(flow_pb2.AddStepRequest(flow="f", step=step))
    async with raw_worker(channel, ["f.a"], credits=1) as worker:
        worker.complete(*await worker.take_tasks(1))
        run = await ended_run(channel, run_id)
    assert [step.step for step in run.steps] == ["a"]
    assert run.output == b'{"a":1}'
    assert (await list_runs(channel, view=common_pb2.VIEW_FULL)).runs[0].output == b'{"a":1}'
