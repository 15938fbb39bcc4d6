"""What somebody who means well writes wrong, and the answer that says how it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepgres_worker import AsyncClient, Flow, RunSpec, Step, Worker
from stepgres_worker.testing import FakeTransport


def handler(input: Any) -> Any:
    return input


class Base:
    """A flow with one step, whose methods are looked up at run time, as mistakes are."""

    def __init__(self) -> None:
        self.flow: Any = Flow("etl")
        self.fetch = self.flow.step(slug="fetch")(lambda input: input)
        self.worker: Any = Worker(transport=FakeTransport())


MISTAKES: list[tuple[Callable[[Base], Any], type[Exception], str]] = [
    (lambda b: b.flow.map(depends_on=["fetch"]), TypeError, "a map takes over=STEP, the one step whose output it maps"),
    (lambda b: b.flow.map(step_type="map"), TypeError, "makes a map already"),
    (lambda b: b.flow.map(timeout=3), TypeError, r"Flow.map takes no timeout; did you mean 'timeout_s'\?"),
    (lambda b: b.flow.map(zzz=3), TypeError, "it takes over, slug, initial_tasks"),
    (lambda b: b.flow.step(over="fetch"), TypeError, r"is a map: write @flow.map\(over=STEP\)"),
    (lambda b: b.flow.step(step_type="map"), TypeError, "@flow.map for one task for each element"),
    (lambda b: b.flow.step(retries=3), TypeError, "Flow.step takes no retries; it takes slug, depends_on"),
    (lambda b: b.flow.map(over=["fetch"])(handler), TypeError, "over is .* it is one step"),
    (lambda b: b.flow.map(b.fetch), ValueError, r"a step already; to depend on it write @flow.map\(over="),
    (lambda b: b.flow.step(b.fetch), ValueError, r"a step already; to depend on it write @flow.step\(depends_on=\["),
    (lambda b: b.flow.map("fetch"), TypeError, r"write @flow.map\(over='fetch'\)"),
    (lambda b: b.flow.step(slug="x", depends_on="fetsh")(handler), ValueError, r"'fetsh' .* did you mean 'fetch'\?"),
    (lambda b: b.flow.map(slug="x", over="FETCH")(handler), ValueError, r"did you mean 'fetch'\?"),
    (
        lambda b: b.flow.step(slug="x", depends_on=handler)(len),
        ValueError,
        "'handler' is no step of it; define it first",
    ),
    (lambda b: b.flow.step(42), TypeError, "42 is no function"),
    (lambda b: b.flow.step(slug="x")("fetch"), TypeError, "'fetch' is no function"),
    (lambda b: b.flow.step(slug="x")(lambda: 1), TypeError, r"is not \(input\) or \(input, ctx\)"),
    (lambda b: b.worker.step("h")(42), TypeError, "handler h: 42 is no function"),
    (lambda b: b.worker.step(handler), TypeError, r"write @worker.step\('handler'\)"),
    (lambda b: b.worker.step("fetsh", flow=b.flow), ValueError, r"its steps are fetch; did you mean 'fetch'\?"),
    (
        lambda b: Step("x", step_type="Map"),
        ValueError,
        r"step_type is 'Map'; it is 'single' or 'map'; did you mean 'map'",
    ),
    (lambda b: Step("x", depends_on=[handler]), TypeError, "depends_on holds <function handler"),  # type: ignore[list-item]
    (lambda b: Worker(target="127.0.0.1:1", concurrency=0), ValueError, "concurrency is 0; it is 1 to 10,000"),
    (lambda b: setattr(b.worker, "concurrency", 0), ValueError, "concurrency is 0; it is 1 to 10,000"),
]


@pytest.mark.parametrize(("mistake", "kind", "answer"), MISTAKES)
def test_a_mistake_in_code_is_answered(mistake: Callable[[Base], Any], kind: type[Exception], answer: str) -> None:
    base = Base()
    with pytest.raises(kind, match=answer):
        mistake(base)
    assert [step.slug for step in base.flow.steps] == ["fetch"]
    assert base.worker.handlers == ()


async def test_a_mistake_in_a_call_is_answered_before_it_is_sent() -> None:
    fake = FakeTransport()
    client: Any = AsyncClient(transport=fake)
    flow = Flow("etl")
    for call, answer in [
        (lambda: client.create_flow("f", ["fetch"]), r"steps\[0\] is 'fetch'; it is a Step, such as Step\('fetch'\)"),
        (lambda: client.create_flow("f", Step("a")), r"it is a list of steps, such as \[Step\('fetch'\)\]"),
        (lambda: client.create_flow("f", "fetch"), "it is a list of steps"),
        (lambda: client.register("etl"), "it is a Flow: to create one by its slug use create_flow"),
        (lambda: client.start_run(flow), "it is the slug of a flow, such as 'etl'"),
        (lambda: client.start_runs([RunSpec(flow)]), "it is the slug of a flow"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(TypeError, match=answer):
            await call()
    assert fake.calls == []


async def test_a_step_served_under_another_name_is_named() -> None:
    flow = Flow("etl")
    flow.step(slug="pay", handler="charge")(handler)
    with pytest.raises(ValueError, match=r"write @worker.step\('charge'\) without flow"):
        Worker(transport=FakeTransport()).step("pay", flow=flow)
    Worker(transport=FakeTransport()).step("anything", flow=Flow("empty"))(handler)
