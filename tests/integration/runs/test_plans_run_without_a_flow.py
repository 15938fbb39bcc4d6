"""Inline plans over gRPC: what they run as, what readers see, whom keys and scopes tell apart, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from stepgres.v1 import common_pb2, flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Context, RunSpec, Step, Worker
from tests.support.flows import define, ended_run, eventually, get_run
from tests.support.rpc import details_of, reason_of

Plan = flow_pb2.CreateFlowRequest
Definition = flow_pb2.StepDefinition
CHAIN = {"a": (), "b": ("a",)}


def plan_of(steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan(steps=[Definition(slug=slug, depends_on=depends_on) for slug, depends_on in steps.items()], **fields)


async def start(channel: grpc.aio.Channel, plan: Plan, **fields: Any) -> run_pb2.StartRunResponse:
    request = run_pb2.StartRunRequest(plan=plan, **fields)
    response: run_pb2.StartRunResponse = await run_pb2_grpc.RunServiceStub(channel).StartRun(request)
    return response


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def violations_of(error: grpc.aio.AioRpcError) -> dict[str, tuple[str, str]]:
    request = error_details_pb2.BadRequest()
    for detail in details_of(error).details:
        detail.Unpack(request)
    return {each.field: (each.reason, each.description) for each in request.field_violations}


async def count(conn: Any, what: str) -> int:
    row = await (await conn.execute(f"select count(*) from {what}")).fetchone()
    return int(row[0])


@pytest.fixture
async def client(coordinator: Coordinator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as opened:
        yield opened


@pytest.fixture
async def worker(coordinator: Coordinator) -> AsyncIterator[Worker]:
    """Serves a and b in the common scope."""
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")
    worker.step("a")(lambda input, ctx: {"flow": ctx.flow, "version": ctx.version, "params": dict(ctx.params)})
    worker.step("b")(lambda input: input["a"])
    serving = asyncio.create_task(worker.serve())
    yield worker
    worker.stop()
    await serving


async def test_a_plan_runs_on_handlers_with_the_names_of_its_steps(channel, worker):
    plan = plan_of(CHAIN)
    plan.steps[0].params.update({"path": "/x"})

    run = (await start(channel, plan)).run
    done = await ended_run(channel, run.run_id)

    assert done.status == common_pb2.RUN_STATUS_COMPLETED
    assert done.flow.startswith("plan:")
    assert len(done.flow) == len("plan:") + 32
    assert json.loads(done.output) == {"b": {"flow": done.flow, "version": 1, "params": {"path": "/x"}}}


async def test_a_map_over_the_input_of_a_plan(channel, coordinator):
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")
    worker.step("double")(lambda input: input["item"] * 2)
    serving = asyncio.create_task(worker.serve())
    plan = Plan(steps=[Definition(slug="each", step_type=common_pb2.STEP_TYPE_MAP, handler="double")])

    done = await ended_run(channel, (await start(channel, plan, input=b"[1, 2, 3]")).run.run_id)

    assert json.loads(done.output) == {"each": [2, 4, 6]}
    refusal = await refused(start(channel, plan, input=b"{}"))
    assert reason_of(refusal) == "TYPE_VIOLATION"
    worker.stop()
    await serving


async def test_readers_see_the_plan(channel):
    run = (await start(channel, plan_of(CHAIN, max_attempts=5))).run
    flows, runs = flow_pb2_grpc.FlowServiceStub(channel), run_pb2_grpc.RunServiceStub(channel)
    await define(channel, "f", a=[])

    read = await get_run(channel, run.run_id)
    assert [(step.step, list(step.depends_on), step.unserved) for step in read.steps] == [
        ("a", [], True), ("b", ["a"], False),
    ]  # fmt: skip
    listed = await runs.ListRuns(run_pb2.ListRunsRequest(flow=run.flow))
    assert [each.run_id for each in listed.runs] == [run.run_id]
    (unfiltered,) = (await runs.ListRuns(run_pb2.ListRunsRequest())).runs
    assert unfiltered.flow == run.flow
    watch = runs.WatchRun(run_pb2.WatchRunRequest(run_id=run.run_id))
    frame = await watch.read()
    assert frame.snapshot.flow == run.flow
    watch.cancel()
    stored = (await flows.GetFlow(flow_pb2.GetFlowRequest(flow=run.flow))).flow
    assert (stored.version, stored.max_attempts, stored.queue) == (1, 5, "plans")
    assert [step.definition.handler for step in stored.steps] == ["a", "b"]
    # Lists of flows are of flows, unless plans are asked for.
    assert [flow.slug for flow in (await flows.ListFlows(flow_pb2.ListFlowsRequest())).flows] == ["f"]
    listed_plans = await flows.ListFlows(flow_pb2.ListFlowsRequest(slug_prefix="plan:"))
    assert [flow.slug for flow in listed_plans.flows] == [run.flow]


async def test_the_same_plan_in_other_words_is_the_same_flow(channel, conn):
    first = plan_of({"a": (), "b": (), "c": ("a", "b")})
    first.steps[0].params.update({"x": 1, "y": {"p": [1, 2], "q": None}})
    second = plan_of({"a": (), "b": (), "c": ("b", "a")}, max_attempts=3, timeout_s=30)
    second.steps[0].params.update({"y": {"q": None, "p": [1.0, 2.0]}, "x": 1.0})
    second.steps[1].handler = "b"
    second.steps[2].step_type = common_pb2.STEP_TYPE_SINGLE
    second.queue = "plans"

    assert (await start(channel, first)).run.flow == (await start(channel, second)).run.flow
    assert await count(conn, "pgflow.workflow_versions") == 1


async def test_the_same_steps_in_another_order_are_the_same_flow(channel, conn):
    """As for CreateFlow: whoever writes a plan again, with its key, is not refused for the order it came in."""
    orders = [["x", "a", "z"], ["a", "x", "z"], ["z", "x", "a"]]
    needs: dict[str, tuple[str, ...]] = {"x": (), "a": (), "z": ("x", "a")}

    runs = [
        await start(channel, plan_of({slug: needs[slug] for slug in order}), idempotency_key="k") for order in orders
    ]

    assert len({answer.run.run_id for answer in runs}) == 1
    assert await count(conn, "pgflow.workflow_versions") == 1
    # The first author's order is the one that people see.
    assert [step.step for step in (await get_run(channel, runs[0].run.run_id)).steps] == ["x", "a", "z"]


@pytest.mark.parametrize(
    "other",
    [
        plan_of({"a": (), "b": ()}),
        plan_of({"b": (), "a": ()}),
        plan_of(CHAIN, max_attempts=4),
        plan_of(CHAIN, timeout_s=31),
        plan_of(CHAIN, base_delay_s=0),
        plan_of(CHAIN, max_delay_s=1),
        Plan(steps=[Definition(slug="a", handler="other"), Definition(slug="b", depends_on=["a"])]),
        Plan(steps=[Definition(slug="a"), Definition(slug="b", depends_on=["a"], timeout_s=30)]),
        Plan(steps=[Definition(slug="a"), Definition(slug="b", depends_on=["a"], max_attempts=3)]),
        Plan(steps=[Definition(slug="a"), Definition(slug="b", depends_on=["a"], step_type=common_pb2.STEP_TYPE_MAP)]),
    ],
)
async def test_another_shape_or_option_is_another_plan(channel, other):
    flows = {(await start(channel, plan)).run.flow for plan in (plan_of(CHAIN), other)}

    assert len(flows) == 2


async def test_everything_wrong_with_a_plan_is_told_at_once_below_plan(channel, conn):
    plan = Plan(
        slug="f",
        queue="mine",
        new_version=True,
        max_attempts=0,
        steps=[
            Definition(slug="a", depends_on=["c"]),
            Definition(slug="a", timeout_s=-1, queue="other"),
            Definition(slug="b", depends_on=["aa", "b"], handler="x y"),
            Definition(slug="c", depends_on=["n", "n"], initial_tasks=1),
            Definition(slug="m", depends_on=["a", "b"], step_type=common_pb2.STEP_TYPE_MAP),
            Definition(slug="n", step_type=common_pb2.STEP_TYPE_MAP, initial_tasks=-1),
            Definition(slug="x", depends_on=["y"]),
            Definition(slug="y", depends_on=["x"]),
        ],
    )
    plan.steps[5].params.update({"a\0": 1})

    found = violations_of(await refused(start(channel, plan, version=2, input=b"{", scope="s" * 129)))

    assert {path: reason for path, (reason, _) in found.items()} == {
        "version": "FIELD_INVALID",
        "plan.slug": "FIELD_INVALID",
        "plan.new_version": "FIELD_INVALID",
        "plan.queue": "FIELD_INVALID",
        "plan.max_attempts": "FIELD_OUT_OF_RANGE",
        "plan.steps[1].slug": "DUPLICATE_STEP",
        "plan.steps[1].timeout_s": "FIELD_OUT_OF_RANGE",
        "plan.steps[1].queue": "FIELD_INVALID",
        "plan.steps[2].depends_on[0]": "UNKNOWN_DEPENDENCY",
        "plan.steps[2].depends_on[1]": "SELF_DEPENDENCY",
        "plan.steps[2].handler": "INVALID_HANDLER",
        "plan.steps[3].depends_on[1]": "DUPLICATE_DEPENDENCY",
        "plan.steps[3].initial_tasks": "INITIAL_TASKS_ON_SINGLE",
        "plan.steps[4].depends_on": "MAP_DEPENDENCIES",
        "plan.steps[5].initial_tasks": "FIELD_OUT_OF_RANGE",
        "plan.steps[5].params": "NUL_CHARACTER",
        "plan.steps[7].depends_on[0]": "DEPENDENCY_CYCLE",
        "input": "INVALID_JSON",
        "scope": "FIELD_TOO_LONG",
    }
    assert all("; " in text for _, text in found.values())
    assert 'the plan does not have; did you mean "a"?' in found["plan.steps[2].depends_on[0]"][1]
    assert await count(conn, "pgflow.workflows") == 0


async def test_nobody_changes_a_plan_by_its_name(channel):
    slug = (await start(channel, plan_of(CHAIN))).run.flow
    flows = flow_pb2_grpc.FlowServiceStub(channel)

    for call, path in (
        (flows.CreateFlow(Plan(slug=slug)), "slug"),
        (flows.AddStep(flow_pb2.AddStepRequest(flow=slug, step=Definition(slug="c"))), "flow"),
        (flows.DeleteFlow(flow_pb2.DeleteFlowRequest(flow=slug, force=True)), "flow"),
    ):
        reason, text = violations_of(await refused(call))[path]
        assert reason == "INVALID_SLUG"
        assert "is the name of an inline plan" in text


async def test_a_plan_runs_again_by_its_name_while_it_is_there(channel):
    first = (await start(channel, plan_of(CHAIN), idempotency_key="k")).run
    runs = run_pb2_grpc.RunServiceStub(channel)

    again = (await runs.StartRun(run_pb2.StartRunRequest(flow=first.flow))).run

    assert (again.flow, again.run_id != first.run_id) == (first.flow, True)
    request = run_pb2.StartRunRequest(flow=first.flow, idempotency_key="k", version=1)
    assert (await runs.StartRun(request)).run.run_id == first.run_id
    error = await refused(runs.StartRun(run_pb2.StartRunRequest(flow="plan:" + 32 * "0")))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "FLOW_NOT_FOUND")
    assert "send the plan itself" in str(error.details())
    flows = flow_pb2_grpc.FlowServiceStub(channel)
    read = await refused(flows.GetFlow(flow_pb2.GetFlowRequest(flow="plan:" + 32 * "0")))
    assert (read.code(), read.details()) == (error.code(), error.details())


async def test_keys_are_those_of_all_plans(channel, conn):
    plan, other = plan_of(CHAIN), plan_of({"a": ()})
    await define(channel, "f", a=[])
    first = await start(channel, plan, idempotency_key="k", input=b"1", scope="s")

    again = await start(channel, plan, idempotency_key="k", input=b"1", scope="t")
    assert (again.run.run_id, again.created) == (first.run.run_id, False)
    this, another = "this inline plan with another input", "another inline plan"
    for owner, sent, input in ((another, other, b"1"), (this, plan, b"2"), (another, other, b"2")):
        error = await refused(start(channel, sent, idempotency_key="k", input=input))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")
        assert f'"k" was used for {owner}, by run {first.run.run_id}' in str(error.details())
    # A flow's keys are its own.
    request = run_pb2.StartRunRequest(flow="f", idempotency_key="k", input=b"1")
    assert (await run_pb2_grpc.RunServiceStub(channel).StartRun(request)).created
    assert await count(conn, "pgflow.runs") == 2


async def test_fifty_who_start_one_plan_with_one_key_get_one_run(channel, start_coordinator, conn):
    plan = plan_of(CHAIN)
    async with start_coordinator() as second, grpc.aio.insecure_channel(f"127.0.0.1:{second.port}") as other:
        keyed = [start(channels, plan, idempotency_key="k") for channels in (channel, other) for _ in range(25)]
        free = [start(channels, plan) for channels in (channel, other) for _ in range(25)]
        answers = await asyncio.gather(*keyed, *free)

    assert len({answer.run.run_id for answer in answers[:50]}) == 1
    assert sum(answer.created for answer in answers[:50]) == 1
    assert len({answer.run.run_id for answer in answers[50:]}) == 50
    assert await count(conn, "pgflow.workflow_versions") == 1
    assert await count(conn, "pgflow.runs") == 51


async def test_flows_and_plans_in_one_call(channel, worker):
    await define(channel, "f", step={"handler": "a"}, x=[])
    request = run_pb2.StartRunRequest
    requests = [
        request(flow="f"), request(plan=plan_of(CHAIN)), request(flow="none"), request(plan=plan_of({"a": ("b",)})),
        request(plan=plan_of({"a": ()})), request(plan=plan_of(CHAIN)), request(plan=plan_of({})),
        request(plan=plan_of(CHAIN), idempotency_key="k"), request(plan=plan_of({"a": ()}), idempotency_key="k"),
    ]  # fmt: skip

    response = await run_pb2_grpc.RunServiceStub(channel).StartRuns(run_pb2.StartRunsRequest(requests=requests))

    refusals = {
        position: (common_pb2.ErrorReason.Name(result.error.reason).removeprefix("ERROR_REASON_"), result.error.field)
        for position, result in enumerate(response.results)
        if result.HasField("error")
    }
    assert refusals == {
        2: ("FLOW_NOT_FOUND", "flow"),
        3: ("UNKNOWN_DEPENDENCY", "plan.steps[0].depends_on[0]"),
        8: ("IDEMPOTENCY_KEY_REUSED", "idempotency_key"),
    }
    runs = [await ended_run(channel, result.run_id) for result in response.results if result.run_id]
    assert [run.status for run in runs] == [common_pb2.RUN_STATUS_COMPLETED] * 6
    assert len({run.flow for run in runs}) == 4


async def test_only_workers_of_its_scope_get_a_plan(coordinator, channel, worker):
    private = Worker(target=f"127.0.0.1:{coordinator.port}", scope="mine")
    private.step("a")(lambda input: "private")
    serving = asyncio.create_task(private.serve())
    plan = plan_of({"a": ()})

    mine, common = (await start(channel, plan, scope="mine")).run, (await start(channel, plan)).run

    assert json.loads((await ended_run(channel, mine.run_id)).output) == {"a": "private"}
    assert json.loads((await ended_run(channel, common.run_id)).output)["a"]["flow"] == mine.flow == common.flow
    private.stop()
    await serving


async def test_the_sdk_starts_and_executes_plans(client, worker):
    document = {"steps": [{"slug": "a", "params": {"n": 1}}, {"slug": "b", "depends_on": ["a"]}]}
    run = await client.start_run(plan=document)
    assert (await run.result(timeout=10))["b"] == {"flow": run.flow, "version": 1, "params": {"n": 1}}
    with pytest.raises(TypeError, match="plan=…"):
        await client.start_run(document)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^plan is 'a'; it is a document, .* or a list of steps"):
        await client.start_run(plan="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^plan\.steps\[0\]\.depend_on: .*\nplan\.steps\[0\]\.timeout_s: "):
        await client.start_run(plan={"steps": [{"slug": "a", "depend_on": [], "timeout_s": "x"}]})
    results = await client.start_runs([RunSpec(plan=[Step("a")]), RunSpec("none")])
    assert [bool(result.run_id) for result in results] == [True, False]

    async def own(input: Any, ctx: Context) -> str:
        return f"{ctx.step} of {input.get('run')}"

    async def execute(number: int) -> Any:
        functions = {"a": lambda input: number, "b": lambda input: input["a"] * 2}
        return await client.execute(document, number, functions, timeout=20)

    assert await asyncio.gather(*(execute(number) for number in range(20))) == [{"b": 2 * n} for n in range(20)]
    assert await client.execute((Step(slug) for slug in "ab"), 7, {"a": own, "b": own}) == {
        "a": "a of 7",
        "b": "b of 7",
    }
    once = await client.execute([Step("a")], 1, {"a": lambda input: "first"}, idempotency_key="k")
    assert await client.execute([Step("a")], 1, {"a": lambda input: "second"}, idempotency_key="k") == once


async def test_a_plan_goes_with_its_last_run(start_coordinator, conn):
    async with (
        start_coordinator(retention_s=1) as coordinator,
        grpc.aio.insecure_channel(f"127.0.0.1:{coordinator.port}") as channel,
    ):
        open_run = (await start(channel, plan_of({"a": ()}))).run
        for number in range(3):
            await start(channel, plan_of({}, max_attempts=1 + number))  # It completes at once.

        async def only_the_open_one_is_left() -> bool:
            return await count(conn, "pgflow.workflows") == await count(conn, "pgflow.runs") == 1

        await eventually(only_the_open_one_is_left)
        assert (await get_run(channel, open_run.run_id)).flow == open_run.flow
        # This coordinator has known the plan: it stores it again.
        again = (await start(channel, plan_of({}))).run
        assert again.status == common_pb2.RUN_STATUS_COMPLETED


@pytest.mark.tampers
async def test_a_plan_that_was_removed_meanwhile_is_stored_again(channel, conn):
    plan = plan_of(CHAIN)
    flow = (await start(channel, plan, idempotency_key="k")).run.flow
    await conn.execute("delete from pgflow.runs")
    await conn.execute("update pgflow.workflows set prune_at = now() - interval '1 hour'")
    await conn.execute("select pgflow.prune_plans()")
    assert await count(conn, "pgflow.workflows") == 0

    request = run_pb2.StartRunRequest(plan=plan, idempotency_key="k")
    batch = run_pb2.StartRunsRequest(requests=[request, run_pb2.StartRunRequest(plan=plan_of({"a": ()})), request])
    results = (await run_pb2_grpc.RunServiceStub(channel).StartRuns(batch)).results

    assert [result.created for result in results].count(True) == 2
    runs = [await get_run(channel, result.run_id) for result in results]
    assert [run.status for run in runs] == [common_pb2.RUN_STATUS_STARTED] * 3
    assert (runs[0].flow, runs[0].run_id) == (flow, runs[2].run_id)


async def test_the_catalogue_tells_of_flows_around_the_plans(client, channel, worker):
    for flow in ("early", "plan9", "planA", "z"):
        await define(channel, flow, step={"handler": "b"}, x=[])
    await start(channel, plan_of(CHAIN))

    async def listed() -> dict[str, tuple[int, tuple[str, ...]]]:
        return {handler.name: (handler.step_count, handler.steps) for handler in await client.list_handlers()}

    async def is_served() -> bool:
        return "b" in await listed()

    await eventually(is_served)
    assert await listed() == {"a": (0, ()), "b": (4, ("early.x", "plan9.x", "planA.x", "z.x"))}
