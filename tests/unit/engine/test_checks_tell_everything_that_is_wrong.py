"""check_flow and topological_order: every rule of a definition, with path, value and remedy."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stepgres_service.engine.checks import MAX_VIOLATIONS, check_flow, topological_order
from stepgres_service.errors import Reason
from stepgres_service.model import FlowSpec, StepSpec, StepType

MAP = StepType.MAP


def step(slug: str, *depends_on: str, **fields: Any) -> StepSpec:
    return StepSpec(slug, depends_on, **fields)


def flow(*steps: StepSpec, slug: str = "ai", **fields: Any) -> FlowSpec:
    return FlowSpec(slug, steps, **fields)


def told(spec: FlowSpec, **limits: int) -> list[tuple[str, Reason]]:
    return [(violation.path, violation.reason) for violation in check_flow(spec, **limits)]


def messages(spec: FlowSpec) -> dict[str, str]:
    return {violation.path: violation.message for violation in check_flow(spec)}


def test_a_right_flow_has_nothing_wrong():
    assert not check_flow(
        flow(
            step("end", "Fetch", "fetch", "each", timeout_s=2_592_000, max_delay_s=604_800),
            step("fetch", params="{}", handler="a.b-c", queue="heavy", base_delay_s=0, max_attempts=1000),
            step("Fetch"),
            step("each", "fetch", step_type=MAP, initial_tasks=0),
            step("root", step_type=MAP),
            step("x" * 128),
            slug="f" * 128,
            max_attempts=1,
            timeout_s=1,
        )
    )


def test_a_flow_may_have_no_steps():
    assert not check_flow(flow())


WRONG = [
    (flow(slug=""), "slug", Reason.FIELD_REQUIRED, "is empty; give a slug"),
    (flow(slug="run"), "slug", Reason.INVALID_SLUG, '"run" is no slug; use letters'),
    (flow(slug="f" * 129), "slug", Reason.INVALID_SLUG, "(129 characters)"),
    (flow(max_attempts=0), "max_attempts", Reason.FIELD_OUT_OF_RANGE, "0 is out of range; use 1 to 1000"),
    (flow(queue="a b"), "queue", Reason.INVALID_SLUG, '"a b" is no slug; '),
    (flow(step("a-b")), "steps[0].slug", Reason.INVALID_SLUG, '"a-b" is no slug; '),
    (flow(step("a"), step("run")), "steps[1].slug", Reason.INVALID_SLUG, '"run" is no slug; '),
    (flow(step("a", handler="1")), "steps[0].handler", Reason.INVALID_HANDLER, '"1" is no handler name; '),
    (flow(step("a", queue="run")), "steps[0].queue", Reason.INVALID_SLUG, '"run" is no slug; '),
    (
        flow(step("a", timeout_s=0)),
        "steps[0].timeout_s",
        Reason.FIELD_OUT_OF_RANGE,
        "0 is out of range; use 1 to 2592000",
    ),
    (
        flow(step("a"), step("b", initial_tasks=2)),
        "steps[1].initial_tasks",
        Reason.INITIAL_TASKS_ON_SINGLE,
        'step "b" is single, only a map has initial_tasks; drop it or make the step a map',
    ),
    (
        flow(step("a", step_type=MAP, initial_tasks=-1)),
        "steps[0].initial_tasks",
        Reason.FIELD_OUT_OF_RANGE,
        "-1 is out of range; use 0 or more",
    ),
    (
        flow(step("a"), step("b"), step("m", "a", "b", step_type=MAP)),
        "steps[2].depends_on",
        Reason.MAP_DEPENDENCIES,
        'map step "m" has 2 dependencies; ',
    ),
    (
        flow(step("a"), step("b"), step("a")),
        "steps[2].slug",
        Reason.DUPLICATE_STEP,
        '"a" is the slug of steps[0] already; choose another',
    ),
    (
        flow(step("a", "a")),
        "steps[0].depends_on[0]",
        Reason.SELF_DEPENDENCY,
        'step "a" depends on itself; drop it',
    ),
    (
        flow(step("a"), step("b", "a", "a")),
        "steps[1].depends_on[1]",
        Reason.DUPLICATE_DEPENDENCY,
        'step "b" depends on "a" twice; drop one of them',
    ),
    (
        flow(step("fetch"), step("save"), step("process", "fetchh")),
        "steps[2].depends_on[0]",
        Reason.UNKNOWN_DEPENDENCY,
        'step "process" depends on "fetchh", which flow "ai" does not have; did you mean "fetch"?',
    ),
    (
        flow(step("fetch"), step("process", "FETCH")),
        "steps[1].depends_on[0]",
        Reason.UNKNOWN_DEPENDENCY,
        'step "process" depends on "FETCH", which flow "ai" does not have; did you mean "fetch"?',
    ),
    (
        flow(step("fetch"), step("process", "xyz")),
        "steps[1].depends_on[0]",
        Reason.UNKNOWN_DEPENDENCY,
        'step "process" depends on "xyz", which flow "ai" does not have; add that step, or drop the dependency',
    ),
    (
        flow(step("x"), step("a", "c"), step("b", "a"), step("c", "b", "x")),
        "steps[2].depends_on[0]",
        Reason.DEPENDENCY_CYCLE,
        "the steps depend on each other in a circle: ",
    ),
]


@pytest.mark.parametrize(
    ("spec", "path", "reason", "says"), WRONG, ids=[f"{w[1]}-{w[2]}-{i}" for i, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_told_with_path_value_and_remedy(spec, path, reason, says):
    (violation,) = check_flow(spec)

    assert (violation.path, violation.reason) == (path, reason)
    assert says in violation.message
    assert "; " in violation.message
    assert str(violation) == f"{path}: {violation.message}"


def test_a_circle_is_named_along_the_flow_of_data():
    (message,) = messages(flow(step("a", "c"), step("b", "a"), step("c", "b"))).values()

    circle = message.split(": ")[1].split(";")[0].split(" -> ")
    assert circle[0] == circle[-1]
    assert "->".join(circle) in {"a->b->c->a", "b->c->a->b", "c->a->b->c"}


def test_a_long_circle_is_named_in_part():
    steps = [step(f"s{i}", f"s{(i + 1) % 2000}") for i in range(2000)]

    (message,) = messages(flow(*steps)).values()

    assert "more)" in message
    assert len(message) < 1000


def test_everything_is_told_at_once():
    spec = flow(
        step("a b", "nobody", handler="", timeout_s=-1),
        step("ok"),
        step("ok", "ok", initial_tasks=1, queue=""),
        step("x", "y"),
        step("y", "x"),
        slug="1",
        max_attempts=1001,
    )

    assert told(spec) == [
        ("slug", Reason.INVALID_SLUG),
        ("max_attempts", Reason.FIELD_OUT_OF_RANGE),
        ("steps[0].slug", Reason.INVALID_SLUG),
        ("steps[0].timeout_s", Reason.FIELD_OUT_OF_RANGE),
        ("steps[0].handler", Reason.INVALID_HANDLER),
        ("steps[2].queue", Reason.FIELD_REQUIRED),
        ("steps[2].initial_tasks", Reason.INITIAL_TASKS_ON_SINGLE),
        ("steps[2].depends_on[0]", Reason.SELF_DEPENDENCY),
        ("steps[2].slug", Reason.DUPLICATE_STEP),
        ("steps[0].depends_on[0]", Reason.UNKNOWN_DEPENDENCY),
        ("steps[4].depends_on[0]", Reason.DEPENDENCY_CYCLE),
    ]


def test_limits_are_the_callers():
    assert told(flow(step("a"), step("b")), max_steps=1) == [("steps", Reason.TOO_MANY_STEPS)]
    spec = flow(step("a"), step("b"), step("c", "a", "b"))
    assert told(spec, max_dependencies=1) == [("steps[2].depends_on", Reason.TOO_MANY_DEPENDENCIES)]


def test_long_names_are_cut_in_messages():
    for message in messages(flow(step("x" * 100_000, "y" * 100_000), slug="z" * 100_000)).values():
        assert len(message) < 600


@pytest.mark.timeout(60)  # it takes a fraction of a second
@pytest.mark.parametrize("length", [15, 30, 60, 120])
def test_a_hopeless_definition_costs_little(length):
    # Names of one letter are the slowest to compare.
    steps = [step("x" * length + str(i), *("x" * length + f"y{j}" for j in range(500))) for i in range(200)]

    assert len(check_flow(flow(*steps))) == MAX_VIOLATIONS


def test_the_order_has_dependencies_first_and_is_the_authors_otherwise():
    steps = [step("save", "each"), step("each", "fetch"), step("fetch"), step("other")]

    assert [one.slug for one in topological_order(steps)] == ["fetch", "each", "save", "other"]


def test_an_order_that_is_right_stays():
    steps = [step("c"), step("a"), step("b", "c"), step("d", "a", "b")]

    assert topological_order(steps) == steps


def test_any_acyclic_flow_can_be_ordered():
    dice = random.Random(7)
    for _ in range(50):
        steps = [step(f"s{i}", *(f"s{j}" for j in range(i) if dice.random() < 0.2)) for i in range(30)]
        dice.shuffle(steps)
        seen: set[str] = set()
        ordered = topological_order(steps)
        assert not check_flow(flow(*steps))
        assert sorted(one.slug for one in ordered) == sorted(one.slug for one in steps)
        for one in ordered:
            assert seen.issuperset(one.depends_on)
            seen.add(one.slug)


def test_a_circle_has_no_order():
    with pytest.raises(ValueError, match="circle"):
        topological_order([step("a", "b"), step("b", "a")])


@pytest.mark.timeout(60)  # it takes a second
def test_the_largest_flow_is_checked_and_ordered():
    steps = [step(f"s{i}", *(f"s{j}" for j in range(max(0, i - 50), i))) for i in reversed(range(2000))]

    assert not check_flow(flow(*steps))
    assert [one.slug for one in topological_order(steps)] == [f"s{i}" for i in range(2000)]
