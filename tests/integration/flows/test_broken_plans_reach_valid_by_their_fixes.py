"""Plans broken at random, against the real coordinator and an independent checker."""

from __future__ import annotations

import asyncio
import copy
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


def on_real_server(test: Callable[[Client], None], coordinator: Coordinator) -> Any:
    """Runs a blocking test in a thread, so that the coordinator's loop stays free."""

    def run() -> None:
        with Client(f"127.0.0.1:{coordinator.port}") as client:
            test(client)

    return asyncio.to_thread(run)


SETTINGS = hypothesis.settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)


def agree(client: Client, plan: Plan) -> Validation:
    """The coordinator's word, which must be the checker's."""
    answer = client.validate_flow(plan)
    assert answer.ok is is_valid(plan), [violation.message for violation in answer.violations]
    for violation in answer.violations:
        assert violation.message.startswith(f"{violation.path}: ")
        assert violation.hint
    return answer


async def test_valid_plans_are_never_refused(coordinator: Coordinator) -> None:
    @SETTINGS
    @hypothesis.given(plan=valid_plans())
    def check(client: Client, plan: Plan) -> None:
        assert is_valid(plan)
        assert agree(client, plan).ok

    await on_real_server(lambda client: check(client=client), coordinator)


async def test_broken_plans_reach_valid_in_two_rounds_or_say_what_to_decide(coordinator: Coordinator) -> None:
    mended = 0

    @SETTINGS
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
    assert mended >= 100


def alike(answer: Validation, violation: PlanViolation) -> int:
    """How many violations say the same of whatever element: removing one moves those behind it."""
    text = violation.message.removeprefix(violation.path)
    return sum(v.message.removeprefix(v.path) == text for v in answer.violations)


async def test_each_fix_alone_mends_its_own_violation(coordinator: Coordinator) -> None:
    @SETTINGS
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
