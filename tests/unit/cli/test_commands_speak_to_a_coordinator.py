from __future__ import annotations

import json
import socket
import threading

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2, flow_pb2, run_pb2
from stepgres_cli.watching import LineView
from tests.unit.cli.coordinator import Refusal

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"


def at(seconds: float) -> Timestamp:
    return Timestamp(seconds=1_700_000_000 + int(seconds), nanos=round(seconds % 1 * 1e9))


def flow(**changes: object) -> flow_pb2.Flow:
    step = flow_pb2.Step(definition=flow_pb2.StepDefinition(slug="greet", handler="hello.greet"), create_time=at(0))
    facts = {
        "slug": "hello", "version": 2, "latest_version": 2, "max_attempts": 3, "timeout_s": 30, "steps": [step],
        "topological_order": ["greet"], "step_count": 1, "create_time": at(0),
    }  # fmt: skip
    return flow_pb2.Flow(**{**facts, **changes})  # type: ignore[arg-type]


def run(status: str, **changes: object) -> run_pb2.Run:
    facts = {
        "run_id": RUN, "flow": "hello", "version": 1, "status": f"RUN_STATUS_{status}", "start_time": at(0),
        "step_count": 2,
    }  # fmt: skip
    return run_pb2.Run(**{**facts, **changes})  # type: ignore[arg-type]


def step(slug: str, status: str, *, completed: int = 0, total: int | None = None) -> run_pb2.StepState:
    kind = common_pb2.STEP_TYPE_SINGLE if total is None else common_pb2.STEP_TYPE_MAP
    counts = run_pb2.TaskCounts(total=1 if total is None else total, completed=completed)
    return run_pb2.StepState(step=slug, step_type=kind, status=f"STEP_STATUS_{status}", counts=counts)


def frames(end: run_pb2.Run):
    yield run_pb2.WatchRunResponse(snapshot=run("STARTED", steps=[step("greet", "STARTED", total=4)]), cursor="1")
    change = run_pb2.RunChange(
        status="RUN_STATUS_STARTED", revision=2, steps=[step("greet", "COMPLETED", completed=4, total=4)]
    )
    yield run_pb2.WatchRunResponse(change=change, cursor="2")
    yield run_pb2.WatchRunResponse(end=end, cursor="3")


COMPLETED = run(
    "COMPLETED", end_time=at(2.5), output=b'{"card": "hi"}', steps=[step("greet", "COMPLETED", completed=4, total=4)]
)
FAILED = run(
    "FAILED",
    end_time=at(1),
    error=run_pb2.RunError(step="greet", task_index=3, code="BANK_BUSY", message="no money", attempt=2),
)
CANCELLED = run("CANCELLED", end_time=at(1))


def test_flow_create_sends_typed_steps_and_shows_the_flow(stepgres, coordinator):
    coordinator.answers["CreateFlow"] = lambda _: flow_pb2.CreateFlowResponse(flow=flow(), created=True)
    answer = stepgres("flow", "create", "hello", "--map", "greet", "--step", "card:greet", "--max-attempts", "5")
    assert answer.code == 0
    assert "flow hello v2: created" in answer.out
    assert "hello.greet" in answer.out
    sent = coordinator.requests[0]
    assert sent.slug == "hello"
    assert sent.max_attempts == 5
    assert {(s.slug, tuple(s.depends_on), s.step_type) for s in sent.steps} == {
        ("card", ("greet",), 1),
        ("greet", (), 2),
    }


def test_flow_create_takes_a_file_and_options_on_top(stepgres, coordinator):
    coordinator.answers["CreateFlow"] = lambda _: flow_pb2.CreateFlowResponse(flow=flow(), created=False)
    body = b'{"slug": "etl", "timeout_s": 9, "steps": [{"slug": "a", "params": {"n": 1}}]}'
    answer = stepgres("flow", "create", "--file", "-", "--timeout", "10", "-o", "json", stdin=body)
    assert answer.code == 0
    assert json.loads(answer.out)["created"] is False
    sent = coordinator.requests[0]
    assert (sent.slug, sent.timeout_s, sent.steps[0].params["n"]) == ("etl", 10, 1)


def test_add_step_sends_the_step(stepgres, coordinator):
    coordinator.answers["AddStep"] = lambda r: flow_pb2.AddStepResponse(
        step=flow_pb2.Step(definition=r.step, step_index=1)
    )
    answer = stepgres(
        "flow",
        "add-step",
        "f",
        "s",
        "--depends-on",
        "a,b",
        "--depends-on",
        "c",
        "--handler",
        "h",
        "--params",
        '{"k": 2}',
    )
    assert answer.out == "step f.s: number 2 of the flow, served as h\n"
    sent = coordinator.requests[0]
    assert (sent.flow, sent.step.slug, list(sent.step.depends_on)) == ("f", "s", ["a", "b", "c"])
    assert sent.step.params["k"] == 2


def test_every_violation_of_a_refusal_is_a_line_then_its_reason_and_exit_code_1(stepgres, coordinator):
    def refuse(_):
        fields = {
            "steps[0].slug": "'run' is reserved; choose another.",
            "steps[1].depends_on[0]": "there is no step 'x'.",
        }
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "2 violations", "INVALID_SLUG", fields)

    coordinator.answers["CreateFlow"] = refuse
    answer = stepgres("flow", "create", "f", "--step", "run", "--step", "b:x")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "error: steps[0].slug: 'run' is reserved; choose another.",
        "error: steps[1].depends_on[0]: there is no step 'x'.",
        "reason: INVALID_SLUG",
    ]


def test_a_refusal_without_fields_is_its_message(stepgres, coordinator):
    def refuse(_):
        raise Refusal(grpc.StatusCode.NOT_FOUND, "flow: no flow 'x'; create it first.", "FLOW_NOT_FOUND")

    coordinator.answers["GetFlow"] = refuse
    answer = stepgres("flow", "get", "x")
    assert (answer.code, answer.err) == (1, "error: flow: no flow 'x'; create it first.\nreason: FLOW_NOT_FOUND\n")


def test_lists_are_tables_documents_or_lines(stepgres, coordinator):
    page = flow_pb2.ListFlowsResponse(flows=[flow(), flow(slug="other", version=1)], next_page_token="next")
    coordinator.answers["ListFlows"] = lambda _: page
    table = stepgres("flow", "list", "--prefix", "h", "-n", "2")
    assert table.out.splitlines()[0].split() == ["flow", "version", "steps", "created"]
    assert "more with --page-token next" in table.out
    assert (coordinator.requests[0].slug_prefix, coordinator.requests[0].page_size) == ("h", 2)
    document = json.loads(stepgres("flow", "list", "--output", "json").out)
    assert document["next_page_token"] == "next"
    assert [item["slug"] for item in document["flows"]] == ["hello", "other"]
    lines = stepgres("flow", "list", "--output", "jsonl").out.splitlines()
    assert [json.loads(line)["version"] for line in lines] == [2, 1]


def test_an_empty_list_says_what_to_do(stepgres, coordinator):
    coordinator.answers["ListRuns"] = lambda _: run_pb2.ListRunsResponse()
    assert "start one with" in stepgres("run", "list").out


def test_run_list_filters(stepgres, coordinator):
    coordinator.answers["ListRuns"] = lambda _: run_pb2.ListRunsResponse(runs=[COMPLETED])
    answer = stepgres("run", "list", "--flow", "hello", "--status", "completed")
    assert answer.out.splitlines()[1].split() == [RUN, "hello", "1", "completed", "2023-11-14", "2.50", "s"]
    assert (coordinator.requests[0].flow, coordinator.requests[0].status) == ("hello", common_pb2.RUN_STATUS_COMPLETED)


def test_run_start_prints_the_id_alone_on_standard_output(stepgres, coordinator):
    coordinator.answers["StartRun"] = lambda _: run_pb2.StartRunResponse(run=run("STARTED"), created=True)
    answer = stepgres("run", "start", "hello", '{"n": 1.50}', "--key", "k", "--scope", "s", "--version", "3")
    assert (answer.code, answer.out) == (0, f"{RUN}\n")
    assert f"stepgres run watch {RUN}" in answer.err
    sent = coordinator.requests[0]
    assert (sent.flow, sent.input, sent.idempotency_key, sent.scope, sent.version) == (
        "hello",
        b'{"n": 1.50}',
        "k",
        "s",
        3,
    )
    assert json.loads(stepgres("run", "start", "hello", "-o", "json").out) == {"run_id": RUN, "created": True}


@pytest.mark.parametrize(("end", "code"), [(COMPLETED, 0), (FAILED, 3), (CANCELLED, 4)])
@pytest.mark.parametrize("how", ["start", "watch"])
def test_watching_ends_with_a_code_for_how_the_run_ended(stepgres, coordinator, end, code, how):
    coordinator.answers["StartRun"] = lambda _: run_pb2.StartRunResponse(run=run("STARTED"), created=True)
    coordinator.answers["WatchRun"] = lambda _: frames(end)
    answer = stepgres("run", "start", "hello", "--watch") if how == "start" else stepgres("run", "watch", RUN)
    assert answer.code == code
    assert answer.out.splitlines()[:2] == ["greet  started  0/4", "greet  completed  4/4"]
    assert f"run {RUN} of hello v1: " in answer.out


def test_a_failed_run_names_step_index_attempt_and_code(stepgres, coordinator):
    coordinator.answers["WatchRun"] = lambda _: frames(FAILED)
    answer = stepgres("run", "watch", RUN)
    assert answer.err == "error: greet[3]: no money (attempt 2)\nreason: BANK_BUSY\n"


def test_an_answer_about_a_failed_run_is_whole_on_standard_output(stepgres, coordinator):
    coordinator.answers["GetRun"] = lambda _: run_pb2.GetRunResponse(run=FAILED)
    answer = stepgres("run", "get", RUN)
    assert (answer.code, answer.err) == (0, "")
    assert "error    greet[3]: no money (attempt 2)" in answer.out
    assert "reason   BANK_BUSY" in answer.out


def test_a_watch_for_programs_prints_every_snapshot_or_the_last(stepgres, coordinator):
    coordinator.answers["WatchRun"] = lambda _: frames(COMPLETED)
    lines = [json.loads(line) for line in stepgres("run", "watch", RUN, "-o", "jsonl").out.splitlines()]
    assert [line["status"] for line in lines] == ["started", "started", "completed"]
    last = json.loads(stepgres("run", "watch", RUN, "-o", "json").out)
    assert last["output"] == {"card": "hi"}
    assert last["steps"]["greet"]["counts"]["completed"] == 4


def test_run_get_shows_steps_input_and_output(stepgres, coordinator):
    found = run("COMPLETED", end_time=at(2), input=b"[1]", output=b'{"card": "[bold]hi"}', steps=COMPLETED.steps)
    coordinator.answers["GetRun"] = lambda _: run_pb2.GetRunResponse(run=found)
    answer = stepgres("run", "get", RUN)
    assert answer.code == 0
    assert "4/4" in answer.out
    assert '"card": "[bold]hi"' in answer.out


def test_run_cancel_says_whether_it_was_this_call(stepgres, coordinator):
    coordinator.answers["CancelRun"] = lambda r: run_pb2.CancelRunResponse(run=CANCELLED, cancelled=r.reason == "why")
    assert stepgres("run", "cancel", RUN, "--reason", "why").out == f"run {RUN}: cancelled\n"
    assert stepgres("run", "cancel", RUN).out == f"run {RUN}: had ended before\n"


def test_run_retry_says_of_each_run_what_became_of_it(stepgres, coordinator):
    coordinator.answers["RetryRun"] = lambda r: run_pb2.RetryRunResponse(retried=r.run_id == RUN)
    other = RUN[:-1] + ("1" if RUN[-1] == "0" else "0")
    assert stepgres("run", "retry", RUN).out == f"run {RUN}: goes on\n"
    assert stepgres("run", "retry", RUN, other).out.splitlines() == [
        f"run {RUN}: goes on",
        f"run {other}: was started already",
    ]
    answer = json.loads(stepgres("run", "retry", RUN, other, "-o", "json").out)
    assert answer["runs"] == [{"run_id": RUN, "retried": True}, {"run_id": other, "retried": False}]


@pytest.mark.parametrize("command", [["health"], ["flow", "list"], ["run", "watch", RUN], ["run", "start", "f"]])
def test_nobody_at_the_address_ends_with_5_and_says_how_to_start_a_coordinator(stepgres, command):
    with socket.socket() as taken:  # bound, not listening: nobody else gets the port meanwhile
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = stepgres(*command, "--target", target)
    assert answer.code == 5
    assert answer.err.startswith(f"error: no coordinator answers at {target} (")
    assert "stepgres dev" in answer.err


def test_a_coordinator_without_its_database_ends_with_5(stepgres, coordinator):
    def refuse(_):
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "the database is away; try again.", "DATABASE_UNAVAILABLE")

    coordinator.answers["StartRun"] = refuse
    answer = stepgres("run", "start", "hello")
    assert (answer.code, answer.err.splitlines()[-1]) == (5, "reason: DATABASE_UNAVAILABLE")


def test_a_watch_that_stands_still_says_which_step_nobody_serves(stepgres, coordinator, monkeypatch):
    noted = threading.Event()
    note = LineView.note

    def note_and_tell(self, text):
        note(self, text)
        noted.set()

    def get(_):
        state = step("greet", "STARTED", total=4)
        state.unserved = True
        return run_pb2.GetRunResponse(run=run("STARTED", steps=[state]))

    def slow(_):
        everything = list(frames(COMPLETED))
        yield everything[0]
        noted.wait(20)
        yield from everything[1:]

    monkeypatch.setattr(LineView, "note", note_and_tell)
    monkeypatch.setattr("stepgres_cli.commands.run._HINT_EVERY_S", 0.05)
    flow = flow_pb2.Flow(slug="hello", steps=[flow_pb2.Step(definition={"slug": "greet", "handler": "say_hello"})])
    coordinator.answers |= {
        "GetRun": get, "WatchRun": slow, "GetFlow": lambda _: flow_pb2.GetFlowResponse(flow=flow),
    }  # fmt: skip
    answer = stepgres("run", "watch", RUN)
    assert answer.code == 0
    assert "no worker serves greet (handler say_hello); start one with" in answer.out


def test_a_watch_that_breaks_before_its_end_goes_on_where_it_was(stepgres, coordinator):
    calls: list[str] = []

    def breaking(request):
        calls.append(request.cursor)
        everything = list(frames(COMPLETED))
        return iter(everything[:2] if len(calls) == 1 else everything[2:])

    coordinator.answers["WatchRun"] = breaking
    assert stepgres("run", "watch", RUN).code == 0
    assert calls == ["", "2"]
