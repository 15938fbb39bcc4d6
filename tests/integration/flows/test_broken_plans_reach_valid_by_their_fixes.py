"""Plans broken at random, against the real coordinator and an independent checker."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from stepgres_service.server import Coordinator
from stepgres_worker import Client, InvalidArgument, PlanViolation, Validation, apply_patch
from tests.support.plan_checker import is_valid

#: The client's backoff and the coordinator's loops draw random numbers in other threads, which hypothesis notices.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

Plan = dict[str, Any]
NAMES = ["fetch", "parse", "rank", "summarise", "translate", "store", "notify", "report"]


@st.composite
def valid_plans(draw: st.DrawFn) -> Plan:
    """A DAG of up to eight steps, singles and maps."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, unique=True))
    steps: list[Plan] = []
    for position, name in enumerate(names):
        step: Plan = {"slug": name}
        is_map = draw(st.booleans())
        before = names[:position]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=1 if is_map else 3)) if before else []
        if needs:
            step["depends_on"] = needs
        if is_map:
            step["step_type"] = "STEP_TYPE_MAP"
            if draw(st.booleans()):
                step["initial_tasks"] = draw(st.integers(0, 9))
        if draw(st.booleans()):
            step["handler"] = draw(st.sampled_from(["fetch_url", "a.b-c", "_x"]))
        if draw(st.booleans()):
            step["timeout_s"] = draw(st.integers(1, 100))
        steps.append(step)
    return {"slug": "plan", "steps": draw(st.permutations(steps))}


def misspelt(step: Plan, plan: Plan) -> None:
    step.setdefault("depends_on", []).append(f"{plan['steps'][0]['slug']}x")


def unknown(step: Plan, plan: Plan) -> None:
    step.setdefault("depends_on", []).append("zzzzzzzz")


def circle(step: Plan, plan: Plan) -> None:
    for one, other in zip(plan["steps"], [*plan["steps"][1:], plan["steps"][0]], strict=True):
        if other["slug"] not in one.setdefault("depends_on", []) and one.get("step_type") != "STEP_TYPE_MAP":
            one["depends_on"].append(other["slug"])


def doubled(step: Plan, plan: Plan) -> None:
    if step.get("depends_on") and step.get("step_type") != "STEP_TYPE_MAP":
        step["depends_on"].append(step["depends_on"][0])


def repeated(step: Plan, plan: Plan) -> None:
    plan["steps"].append(copy.deepcopy(step))


def namesake(step: Plan, plan: Plan) -> None:
    plan["steps"].append({"slug": step["slug"], "timeout_s": 77})


def bad_name(step: Plan, plan: Plan) -> None:
    old, new = step["slug"], f"{step['slug']} it!"
    for other in plan["steps"]:
        other["depends_on"] = [new if slug == old else slug for slug in other.get("depends_on", [])]
    step["slug"] = new


def renamed(owner: Plan, old: str, new: str) -> None:
    if old in owner:
        owner[new] = owner.pop(old)


def joined_by_commas(step: Plan, plan: Plan) -> None:
    if isinstance(step.get("depends_on"), list):
        step["depends_on"] = ", ".join(map(str, step["depends_on"]))


def in_a_text(step: Plan, plan: Plan) -> None:
    step["params"] = json.dumps(step.get("params") or {"what": 1})


def with_null(step: Plan, plan: Plan) -> None:
    if isinstance(step.get("depends_on"), list):
        step["depends_on"].insert(0, None)


def only_its_name(step: Plan, plan: Plan) -> None:
    plan["steps"] = [other["slug"] if other is step else other for other in plan["steps"]]


def nothing(step: Plan, plan: Plan) -> None:
    plan["steps"] = [other for step_ in plan["steps"] for other in ([None, step_] if step_ is step else [step_])]


#: What breaks the form of a step.
FORM_BREAKS: list[Callable[[Plan, Plan], None]] = [
    joined_by_commas, in_a_text, with_null, only_its_name, nothing,
    lambda step, plan: renamed(step, "depends_on", "dependson"),
    lambda step, plan: renamed(step, "depends_on", "dependencies"),
    lambda step, plan: renamed(step, "depends_on", "dependsOn"),
    lambda step, plan: renamed(step, "slug", "name"),
    lambda step, plan: renamed(step, "timeout_s", "timeout"),
    lambda step, plan: renamed(step, "handler", "handlr"),
    lambda step, plan: step.update(slug=7),
    lambda step, plan: step.update(slug=["a"]),
    lambda step, plan: step.update(timeout_s="30s"),
    lambda step, plan: step.update(timeout_s="soon"),
    lambda step, plan: step.update(timeout_s=1.5),
    lambda step, plan: step.update(max_attempts=10**12),
    lambda step, plan: step.update(step_type="Map"),
    lambda step, plan: step.update(step_type="loop"),
    lambda step, plan: step.update(description="What it does."),
    lambda step, plan: step.update(retries=3),
    lambda step, plan: step.update(params=[1]),
    lambda step, plan: step.update(depends_on={"a": 1}),
]  # fmt: skip
#: What breaks the form of the whole; one of them comes last.
PLAN_BREAKS: list[Callable[[Plan], None]] = [
    lambda plan: None,
    lambda plan: renamed(plan, "steps", "stps"),
    lambda plan: renamed(plan, "slug", "name"),
    lambda plan: plan.update(new_version="true"),
    lambda plan: plan.update(version=3),
    lambda plan: plan.update(title="A plan"),
    lambda plan: plan.update(max_attempts="three"),
    lambda plan: plan.update(steps={f"s{i}": step for i, step in enumerate(plan["steps"]) if isinstance(step, dict)}),
]

BREAKS: list[Callable[[Plan, Plan], None]] = [
    misspelt, unknown, circle, doubled, repeated, namesake, bad_name,
    lambda step, plan: step.setdefault("depends_on", []).append(step["slug"]),
    lambda step, plan: step.update(slug="run"),
    lambda step, plan: step.update(slug=""),
    lambda step, plan: step.update(handler="fetch url"),
    lambda step, plan: step.update(timeout_s=0),
    lambda step, plan: step.update(max_delay_s=10**8),
    lambda step, plan: step.update(step_type="STEP_TYPE_SINGLE", initial_tasks=3),
    lambda step, plan: step.update(step_type="STEP_TYPE_MAP", initial_tasks=-1),
    lambda step, plan: step.update(queue="my queue"),
    lambda step, plan: plan.update(slug="2nd plan"),
    lambda step, plan: plan.update(max_attempts=0),
]  # fmt: skip


@st.composite
def broken_plans(draw: st.DrawFn) -> Plan:
    """A valid plan with one to five things broken."""
    plan = draw(valid_plans())
    for _ in range(draw(st.integers(1, 5))):
        step = plan["steps"][draw(st.integers(0, len(plan["steps"]) - 1))]
        draw(st.sampled_from(BREAKS))(step, plan)
    return plan


@st.composite
def misshapen_plans(draw: st.DrawFn) -> Plan:
    """A valid plan with up to three things broken, then its form in one to four ways."""
    plan = draw(valid_plans())
    for breaks, most in ((BREAKS, 3), (FORM_BREAKS, 4)):
        for _ in range(draw(st.integers(0 if breaks is BREAKS else 1, most))):
            steps = [step for step in plan["steps"] if isinstance(step, dict) and isinstance(step.get("slug"), str)]
            if steps and all(isinstance(step.get("depends_on", []), list) for step in steps):
                draw(st.sampled_from(breaks))(draw(st.sampled_from(steps)), plan)
    draw(st.sampled_from(PLAN_BREAKS))(plan)
    return plan


def on_real_server(test: Callable[[Client], None], coordinator: Coordinator) -> Any:
    """Runs a blocking test in a thread, so that the coordinator's loop stays free."""

    def run() -> None:
        with Client(f"127.0.0.1:{coordinator.port}") as client:
            test(client)

    return asyncio.to_thread(run)


@pytest.fixture(params=[40, pytest.param(250, marks=pytest.mark.slow)], ids="{}_plans".format)
def tries(request: pytest.FixtureRequest) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=request.param, deadline=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


def agree(client: Client, plan: Plan) -> Validation:
    """The coordinator's word, which must be the checker's."""
    answer = client.validate_flow(plan)
    assert answer.ok is is_valid(plan), [violation.message for violation in answer.violations]
    for violation in answer.violations:
        assert violation.message.startswith(f"{violation.path}: ")
        assert violation.hint
    return answer


async def test_valid_plans_are_never_refused(coordinator: Coordinator, tries: hypothesis.settings) -> None:
    @tries
    @hypothesis.given(plan=valid_plans())
    def check(client: Client, plan: Plan) -> None:
        assert is_valid(plan)
        assert agree(client, plan).ok

    await on_real_server(lambda client: check(client=client), coordinator)


async def test_broken_plans_reach_valid_in_two_rounds_or_say_what_to_decide(
    coordinator: Coordinator, tries: hypothesis.settings
) -> None:
    mended = 0

    @tries
    @hypothesis.given(plan=broken_plans())
    def check(client: Client, plan: Plan) -> None:
        nonlocal mended
        for _ in range(2):
            answer = agree(client, plan)
            plan = apply_patch(plan, answer.fix)
        last = agree(client, plan)
        mended += last.ok
        # What is left has no fix, and its hint says what to decide.
        assert [v.message for v in last.violations if v.fix] == []
        left = {v.reason for v in last.violations}
        assert left <= {"UNKNOWN_DEPENDENCY", "MAP_DEPENDENCIES"}

    await on_real_server(lambda client: check(client=client), coordinator)
    assert mended >= 0.3 * tries.max_examples


async def test_misshapen_plans_reach_valid_in_two_rounds_or_say_what_to_decide(
    coordinator: Coordinator, tries: hypothesis.settings
) -> None:
    mended = 0

    @tries
    @hypothesis.given(plan=misshapen_plans())
    def check(client: Client, plan: Plan) -> None:
        nonlocal mended
        for _ in range(2):
            answer = agree(client, plan)
            plan = apply_patch(plan, answer.fix)
        last = agree(client, plan)
        mended += last.ok
        assert [v.message for v in last.violations if v.fix] == []
        assert {v.reason for v in last.violations} <= {"UNKNOWN_DEPENDENCY", "MAP_DEPENDENCIES", "FIELD_INVALID"}

    await on_real_server(lambda client: check(client=client), coordinator)
    assert mended >= 0.2 * tries.max_examples


async def test_each_fix_alone_mends_its_own_fault_of_form(coordinator: Coordinator, tries: hypothesis.settings) -> None:
    @tries
    @hypothesis.given(plan=misshapen_plans())
    def check(client: Client, plan: Plan) -> None:
        answer = client.validate_flow(plan)
        for violation in answer.violations[:3]:
            if violation.fix:
                after = client.validate_flow(apply_patch(plan, violation.fix))
                assert alike(after, violation) < alike(answer, violation)

    await on_real_server(lambda client: check(client=client), coordinator)


async def test_form_and_meaning_are_told_and_mended_in_one_round(coordinator: Coordinator) -> None:
    plan = {
        "slug": "trip planner",
        "steps": [
            {"slug": "weather", "handlr": "lookup", "timeout_s": "30s", "description": "Asks for the weather."},
            {"slug": "compare", "depends_on": "wether", "retries": 2, "timeout_s": 0},
            {"slug": 5, "dependsOn": ["compare", "compare"]},
        ],
    }

    def check(client: Client) -> None:
        answer = client.validate_flow(plan)
        assert [(v.path, v.reason, bool(v.fix)) for v in answer.violations] == [
            ("slug", "INVALID_SLUG", True),
            ("steps[0].handlr", "FIELD_INVALID", True),
            ("steps[0].timeout_s", "FIELD_INVALID", True),
            ("steps[0].description", "FIELD_INVALID", True),
            ("steps[1].depends_on", "FIELD_INVALID", True),
            ("steps[1].retries", "FIELD_INVALID", False),
            ("steps[1].timeout_s", "FIELD_OUT_OF_RANGE", True),
            ("steps[1].depends_on[0]", "UNKNOWN_DEPENDENCY", True),
            ("steps[2].slug", "FIELD_INVALID", True),
            ("steps[2].slug", "INVALID_SLUG", True),
            ("steps[2].depends_on[1]", "DUPLICATE_DEPENDENCY", True),
        ]
        mended = apply_patch(plan, answer.fix)
        assert mended == {
            "slug": "trip_planner",
            "steps": [
                {"slug": "weather", "handler": "lookup", "timeout_s": 30},
                {"slug": "compare", "depends_on": ["weather"], "retries": 2, "timeout_s": 1},
                {"slug": "_5", "depends_on": ["compare"]},
            ],
        }
        assert [v.path for v in client.validate_flow(mended).violations] == ["steps[1].retries"]
        with pytest.raises(ValueError, match="retries: is unknown") as refused:
            client.apply_flow(plan)
        assert len(str(refused.value).splitlines()) == 6

    await on_real_server(check, coordinator)


async def test_what_cannot_be_read_brings_no_false_complaints(coordinator: Coordinator) -> None:
    plan = {
        "slug": "p",
        "steps": [
            5,
            {"slug": ["a"]},
            {"slug": ["b"]},
            {"slug": "c", "step_type": "map", "depends_on": [None, "d"]},
            {"slug": "d"},
        ],
    }

    def check(client: Client) -> None:
        answer = client.validate_flow(plan)
        assert [v.path for v in answer.violations] == [
            "steps[0]", "steps[1].slug", "steps[2].slug", "steps[3].depends_on[0]"
        ]  # fmt: skip
        assert "unreadable" not in str(answer)

    await on_real_server(check, coordinator)


def alike(answer: Validation, violation: PlanViolation) -> int:
    """How many violations say the same of whatever element: removing one moves those behind it."""
    text = violation.message.removeprefix(violation.path)
    return sum(v.message.removeprefix(v.path) == text for v in answer.violations)


async def test_each_fix_alone_mends_its_own_violation(coordinator: Coordinator, tries: hypothesis.settings) -> None:
    @tries
    @hypothesis.given(plan=broken_plans())
    def check(client: Client, plan: Plan) -> None:
        answer = client.validate_flow(plan)
        for violation in answer.violations[:3]:
            if violation.fix:
                after = client.validate_flow(apply_patch(plan, violation.fix))
                assert alike(after, violation) < alike(answer, violation)

    await on_real_server(lambda client: check(client=client), coordinator)


async def test_create_flow_refuses_what_validate_flow_refuses(coordinator: Coordinator) -> None:
    plan = {"slug": "p", "steps": [{"slug": "a", "depends_on": ["b"]}, {"slug": "c", "handler": "no good"}]}

    def check(client: Client) -> None:
        told = {violation.path for violation in client.validate_flow(plan).violations}
        with pytest.raises(InvalidArgument) as refused:
            client.apply_flow(plan)
        assert {violation.field for violation in refused.value.violations} == told

    await on_real_server(check, coordinator)
