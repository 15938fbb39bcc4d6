from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import hypothesis
import hypothesis.strategies as st

from stepgres_service.engine.plans import plan_of
from stepgres_service.model import FlowSpec, StepSpec


@st.composite
def plans(draw: st.DrawFn) -> FlowSpec:
    slugs = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True))
    steps = []
    for index, slug in enumerate(slugs):
        depends_on = draw(st.lists(st.sampled_from(slugs[:index]), unique=True)) if index else []
        params = draw(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3) | st.text("é\"'", max_size=2)))
        steps.append(StepSpec(slug=slug, depends_on=tuple(depends_on), params=json.dumps(params)))
    return FlowSpec(slug="", steps=tuple(steps))


def in_other_words(draw: Any, spec: FlowSpec) -> FlowSpec:
    """The same plan: steps, dependencies and keys in another order, defaults written out."""
    steps = [
        replace(
            step,
            depends_on=tuple(draw(st.permutations(step.depends_on))),
            handler=draw(st.sampled_from([None, step.slug])),
            params=json.dumps(dict(reversed(json.loads(step.params or "{}").items())), indent=1, ensure_ascii=False),
        )
        for step in draw(st.permutations(spec.steps))
    ]
    return replace(spec, steps=tuple(steps), timeout_s=draw(st.sampled_from([None, 30])))


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(data=st.data(), spec=plans())
def test_a_plan_in_other_words_has_the_same_name_and_can_be_made(data: Any, spec: FlowSpec) -> None:
    first, again = plan_of(spec), plan_of(in_other_words(data.draw, spec))

    assert again.slug == first.slug
    made: set[str] = set()
    for step in json.loads(again.definition)["steps"]:
        assert made.issuperset(step["depends_on"])
        made.add(step["slug"])
    assert made == {step.slug for step in spec.steps}


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(spec=plans(), other=plans())
def test_two_plans_have_two_names(spec: FlowSpec, other: FlowSpec) -> None:
    def content(plan: FlowSpec) -> Any:
        return {step.slug: (sorted(step.depends_on), json.loads(step.params or "{}")) for step in plan.steps}

    assert (plan_of(spec).slug == plan_of(other).slug) == (content(spec) == content(other))
    changed = replace(spec, steps=(replace(spec.steps[0], timeout_s=7), *spec.steps[1:]))
    assert plan_of(changed).slug != plan_of(spec).slug
