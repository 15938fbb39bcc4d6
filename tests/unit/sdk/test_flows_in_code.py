"""Functions become steps."""

from __future__ import annotations

from typing import Any

import pytest

from stepgres_worker import Flow, Step


def test_steps_know_their_dependencies_by_function_or_slug() -> None:
    flow = Flow("etl", max_attempts=5, timeout_s=9)

    @flow.step
    def fetch(input: Any) -> Any:
        return input

    @flow.map(over=fetch, timeout_s=60, slug="twice", initial_tasks=3)
    def double(input: Any) -> Any:
        return input

    @flow.step(depends_on=[fetch, "twice"], handler="shared.save", params={"to": "s3"}, max_attempts=2, base_delay_s=0)
    def save(input: Any) -> Any:
        return input

    @flow.map
    def root(input: Any) -> Any:
        return input

    assert flow.steps == [
        Step("fetch"),
        Step("twice", ("fetch",), "map", 3, timeout_s=60),
        Step("save", ("fetch", "twice"), handler="shared.save", params={"to": "s3"}, max_attempts=2, base_delay_s=0),
        Step("root", step_type="map"),
    ]
    assert flow.handlers() == {"etl.fetch": fetch, "etl.twice": double, "shared.save": save, "etl.root": root}
    assert fetch({"stays": "callable"}) == {"stays": "callable"}
    assert repr(flow) == "Flow('etl', steps=['fetch', 'twice', 'save', 'root'])"


def test_one_function_may_be_several_steps() -> None:
    flow = Flow("f")

    def work(input: Any) -> Any:
        return input

    flow.step(slug="a")(work)
    flow.step(slug="b", depends_on="a")(work)
    assert [step.slug for step in flow.steps] == ["a", "b"]
    with pytest.raises(ValueError, match="several steps"):
        flow.step(slug="c", depends_on=[work])(work)


def test_mistakes_are_found_where_they_are_made() -> None:
    flow = Flow("f")

    @flow.step
    def a(input: Any) -> Any:
        return input

    with pytest.raises(ValueError, match="already"):
        flow.step(a)
    with pytest.raises(ValueError, match="is no step of it"):
        flow.step(slug="b", depends_on=["nobody"])(a)
    with pytest.raises(ValueError, match="is no step of it"):
        flow.map(slug="b", over=len)(a)
    with pytest.raises(ValueError, match="give the step a slug"):
        flow.step(lambda input: input)
    flow.step(slug="c", handler="shared")(a)
    with pytest.raises(ValueError, match="another function"):
        flow.step(slug="d", handler="shared")(len)
    with pytest.raises(TypeError, match="list of slugs"):
        Step("x", depends_on="abc")
    assert [step.slug for step in flow.steps] == ["a", "c"]
