"""The rules of a definition, all checked at once, each violation with its path, the value and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from stepgres_service.errors import Reason, Violation
from stepgres_service.model import FlowSpec, StepSpec, StepType

_SLUG = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}\Z")
_HANDLER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,259}\Z")

#: Field -> lowest and highest value, in a flow and in a step.
RANGES: dict[str, tuple[int, int]] = {
    "max_attempts": (1, 1000),
    "timeout_s": (1, 30 * 24 * 3600),
    "base_delay_s": (0, 24 * 3600),
    "max_delay_s": (0, 7 * 24 * 3600),
}


def is_slug(text: str) -> bool:
    """Whether a text may name a flow, a step or a queue."""
    return _SLUG.match(text) is not None and text != "run"


def check_slug(path: str, text: str) -> Iterator[Violation]:
    """Yields a violation unless the text is a slug."""
    if not text:
        yield Violation(
            path, Reason.FIELD_REQUIRED, "is empty; give a slug: letters, digits and _, 1 to 128 characters"
        )
    elif not is_slug(text):
        shown = text if len(text) <= 80 else f"{text[:80]}… ({len(text)} characters)"
        yield Violation(
            path,
            Reason.INVALID_SLUG,
            f'"{shown}" is no slug; use letters, digits and _ (a letter or _ first), 1 to 128 characters, not "run"',
        )


def check_options(prefix: str, spec: FlowSpec | StepSpec) -> Iterator[Violation]:
    """Yields a violation for each option out of range."""
    for name, (lowest, highest) in RANGES.items():
        value = getattr(spec, name)
        if value is not None and not lowest <= value <= highest:
            yield Violation(
                f"{prefix}{name}", Reason.FIELD_OUT_OF_RANGE, f"{value} is out of range; use {lowest} to {highest}"
            )
    if spec.queue is not None:
        yield from check_slug(f"{prefix}queue", spec.queue)


def check_step(prefix: str, step: StepSpec, max_dependencies: int = 2000) -> Iterator[Violation]:
    """Yields what is wrong with a step by itself."""
    yield from check_slug(f"{prefix}slug", step.slug)
    yield from check_options(prefix, step)
    if step.handler is not None and not _HANDLER.match(step.handler):
        yield Violation(
            f"{prefix}handler",
            Reason.INVALID_HANDLER,
            f'"{step.handler[:80]}" is no handler name; use letters, digits, _ . - (a letter or _ first), up to 260 '
            "characters",
        )
    if step.initial_tasks is not None:
        if step.step_type is not StepType.MAP:
            yield Violation(
                f"{prefix}initial_tasks",
                Reason.INITIAL_TASKS_ON_SINGLE,
                f'step "{step.slug}" is single, only a map has initial_tasks; drop it or make the step a map',
            )
        elif step.initial_tasks < 0:
            yield Violation(
                f"{prefix}initial_tasks",
                Reason.FIELD_OUT_OF_RANGE,
                f"{step.initial_tasks} is out of range; use 0 or more",
            )
    if step.step_type is StepType.MAP and len(step.depends_on) > 1:
        yield Violation(
            f"{prefix}depends_on",
            Reason.MAP_DEPENDENCIES,
            f'map step "{step.slug}" has {len(step.depends_on)} dependencies; a map has none (it maps over the run '
            "input) or one; put a single step between",
        )
    if len(step.depends_on) > max_dependencies:
        yield Violation(
            f"{prefix}depends_on",
            Reason.TOO_MANY_DEPENDENCIES,
            f"{len(step.depends_on)} dependencies, at most {max_dependencies} are allowed; join them in stages",
        )
    yield from _check_dependencies(prefix, step)


def _check_dependencies(prefix: str, step: StepSpec) -> Iterator[Violation]:
    seen: set[str] = set()
    for position, slug in enumerate(step.depends_on):
        path = f"{prefix}depends_on[{position}]"
        if slug == step.slug:
            yield Violation(path, Reason.SELF_DEPENDENCY, f'step "{step.slug}" depends on itself; drop it')
        elif slug in seen:
            yield Violation(
                path, Reason.DUPLICATE_DEPENDENCY, f'step "{step.slug}" depends on "{slug}" twice; drop one of them'
            )
        seen.add(slug)


def check_flow(spec: FlowSpec, *, max_steps: int = 2000, max_dependencies: int = 2000) -> list[Violation]:
    """Everything that is wrong with a definition; empty = nothing.

    Args:
        spec: the definition, its steps in any order.
        max_steps: steps a flow may have.
        max_dependencies: dependencies a step may have.
    """
    found = [*check_slug("slug", spec.slug), *check_options("", spec)]
    if len(spec.steps) > max_steps:
        found.append(
            Violation(
                "steps",
                Reason.TOO_MANY_STEPS,
                f"{len(spec.steps)} steps, at most {max_steps} are allowed; split the flow into two",
            )
        )
        return found
    first: dict[str, int] = {}
    for index, step in enumerate(spec.steps):
        found.extend(check_step(f"steps[{index}].", step, max_dependencies))
        if step.slug in first:
            found.append(
                Violation(
                    f"steps[{index}].slug",
                    Reason.DUPLICATE_STEP,
                    f'"{step.slug}" is the slug of steps[{first[step.slug]}] already; choose another',
                )
            )
        first.setdefault(step.slug, index)
    found.extend(_check_graph(spec, first))
    return found


def _check_graph(spec: FlowSpec, index_of: dict[str, int]) -> Iterator[Violation]:
    graph: dict[str, list[str]] = {}
    for index, step in enumerate(spec.steps):
        graph.setdefault(step.slug, [])
        for position, slug in enumerate(step.depends_on):
            if slug in index_of:
                if slug != step.slug:
                    graph[step.slug].append(slug)
                continue
            close = difflib.get_close_matches(slug, index_of, n=1)
            yield Violation(
                f"steps[{index}].depends_on[{position}]",
                Reason.UNKNOWN_DEPENDENCY,
                f'step "{step.slug}" depends on "{slug[:128]}", which flow "{spec.slug[:128]}" does not have; '
                + (f'did you mean "{close[0]}"?' if close else "add that step, or drop the dependency"),
            )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib names each step behind the one that needs it; people read along the flow of data.
        circle: list[str] = error.args[1]
        index = min(index_of[slug] for slug in circle)
        yield Violation(
            f"steps[{index}].depends_on",
            Reason.DEPENDENCY_CYCLE,
            f"the steps depend on each other in a circle: {' -> '.join(circle)}; drop one of these dependencies",
        )


def topological_order(steps: Sequence[StepSpec]) -> list[StepSpec]:
    """The steps with each behind its dependencies, otherwise in the author's order.

    Args:
        steps: free of cycles and unknown dependencies.
    """
    ordered: list[StepSpec] = []
    done: set[str] = set()
    waiting = list(steps)
    while waiting:
        rest = []
        for step in waiting:
            if done.issuperset(step.depends_on):
                ordered.append(step)
                done.add(step.slug)
            else:
                rest.append(step)
        if len(rest) == len(waiting):
            raise ValueError("the steps depend on each other in a circle")
        waiting = rest
    return ordered
