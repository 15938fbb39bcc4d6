"""The rules of a definition, all checked at once, each violation with its path, the value and the remedy."""

from __future__ import annotations

import difflib
import functools
import heapq
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from stepgres_service.errors import Reason, Violation
from stepgres_service.model import FlowSpec, StepSpec, StepType

#: The whole of a slug, and of a handler's name.
SLUG_PATTERN = "[a-zA-Z_][a-zA-Z0-9_]{0,127}"
HANDLER_PATTERN = "[a-zA-Z_][a-zA-Z0-9_.-]{0,259}"
_SLUG = re.compile(rf"{SLUG_PATTERN}\Z")
_PLAN = re.compile(r"plan:[0-9a-f]{32}\Z")
_STEP_PATH = re.compile(r"\bsteps\[(\d+)\]")
_HANDLER = re.compile(rf"{HANDLER_PATTERN}\Z")

#: Violations that are looked for; who has more fixes these first.
MAX_VIOLATIONS = 1000
#: What hints may cost a definition, in comparisons of short names: 0.1 s for the worst names.
_HINT_COMPARISONS = 4000

#: Field -> lowest and highest value, in a flow and in a step.
RANGES: dict[str, tuple[int, int]] = {
    "max_attempts": (1, 1000),
    "timeout_s": (1, 30 * 24 * 3600),
    "base_delay_s": (0, 24 * 3600),
    "max_delay_s": (0, 7 * 24 * 3600),
}


@functools.lru_cache(maxsize=4096)
def is_slug(text: str) -> bool:
    """Whether a text may name a flow, a step or a queue."""
    return _SLUG.match(text) is not None and text != "run"


def once_a_path(found: Sequence[Violation], more: Sequence[Violation]) -> list[Violation]:
    """Both, but of each field only what was found first: it is the clearer word."""
    told = {violation.path for violation in found}
    return [*found, *(violation for violation in more if violation.path not in told)]


def in_path_order(violations: Sequence[Violation]) -> list[Violation]:
    """As a definition is read: its own fields, then step by step; within a step what was found first stays first."""

    def position(violation: Violation) -> int:
        step = _STEP_PATH.search(violation.path)
        return int(step[1]) if step else -1

    return sorted(violations, key=position)


def is_plan(text: str) -> bool:
    """Whether a text is the slug of an inline plan, which the server makes of its content."""
    return _PLAN.match(text) is not None


def check_slug(path: str, text: str) -> Iterator[Violation]:
    """Yields a violation unless the text is a slug."""
    if not text:
        yield Violation(
            path, Reason.FIELD_REQUIRED, "is empty; give a slug: letters, digits and _, 1 to 128 characters"
        )
    elif is_plan(text):
        yield Violation(
            path,
            Reason.INVALID_SLUG,
            f'"{text}" is the name of an inline plan, which comes with a run and nobody changes: it goes with its last run; '
            "name a flow",
        )
    elif not is_slug(text):
        yield Violation(
            path,
            Reason.INVALID_SLUG,
            f'"{_shown(text)}" is no slug; use letters, digits and _ (a letter or _ first), 1 to 128 characters, not "run"',
        )


def _shown(text: str) -> str:
    """A name for a message, whatever its length."""
    return text if len(text) <= 128 else f"{text[:80]}… ({len(text)} characters)"


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
            f'"{_shown(step.handler)}" is no handler name; use letters, digits, _ . - (a letter or _ first), up to 260 '
            "characters",
        )
    if step.initial_tasks is not None:
        if step.step_type is not StepType.MAP:
            yield Violation(
                f"{prefix}initial_tasks",
                Reason.INITIAL_TASKS_ON_SINGLE,
                f'step "{_shown(step.slug)}" is single, only a map has initial_tasks; drop it or make the step a map',
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
            f'map step "{_shown(step.slug)}" has {len(step.depends_on)} dependencies; a map has none (it maps over the run '
            "input) or one; put a single step between",
        )
    if len(step.depends_on) > max_dependencies:
        yield Violation(
            f"{prefix}depends_on",
            Reason.TOO_MANY_DEPENDENCIES,
            f"{len(step.depends_on)} dependencies, at most {max_dependencies} are allowed; join them in stages",
        )
        return
    yield from _check_dependencies(prefix, step)


def _check_dependencies(prefix: str, step: StepSpec) -> Iterator[Violation]:
    seen: set[str] = set()
    for position, slug in enumerate(step.depends_on):
        path = f"{prefix}depends_on[{position}]"
        if slug == step.slug:
            yield Violation(path, Reason.SELF_DEPENDENCY, f'step "{_shown(step.slug)}" depends on itself; drop it')
        elif slug in seen:
            yield Violation(
                path,
                Reason.DUPLICATE_DEPENDENCY,
                f'step "{_shown(step.slug)}" depends on "{_shown(slug)}" twice; drop one of them',
            )
        seen.add(slug)


def check_dependencies(prefix: str, flow: str, step: StepSpec, steps: Sequence[str]) -> list[Violation]:
    """Each dependency of a step to be added that its flow does not have, up to MAX_VIOLATIONS.

    Args:
        prefix: path of the step, with its dot.
        flow: slug of the flow.
        step: the step to be added.
        steps: slugs that the flow has.
    """
    hints = _Hints(steps)
    known = set(steps)
    unknown = ((position, slug) for position, slug in enumerate(step.depends_on) if slug not in known)
    return [
        Violation(
            f"{prefix}depends_on[{position}]",
            Reason.UNKNOWN_DEPENDENCY,
            f'step "{_shown(step.slug)}" depends on "{_shown(slug)}", which flow "{flow}" does not have; '
            + (
                f'did you mean "{close}"?'
                if (close := hints.closest(slug))
                else "add that step first, or correct the name"
            ),
        )
        for position, slug in itertools.islice(unknown, MAX_VIOLATIONS)
    ]


def check_step_count(count: int, max_steps: int) -> Iterator[Violation]:
    """Whether a flow has too many steps to look at each."""
    if count > max_steps:
        yield Violation(
            "steps",
            Reason.TOO_MANY_STEPS,
            f"{count} steps, at most {max_steps} are allowed; split the flow into two",
        )


def check_flow(
    spec: FlowSpec, *, max_steps: int = 2000, max_dependencies: int = 2000, plan: bool = False
) -> list[Violation]:
    """Everything that is wrong with a definition, up to MAX_VIOLATIONS; empty = nothing.

    Args:
        spec: the definition, its steps in any order.
        max_steps: steps a flow may have.
        max_dependencies: dependencies a step may have.
        plan: it is an inline plan, which has no slug of its author's.
    """
    found = _check_flow(spec, max_steps, max_dependencies)
    named = found if plan else itertools.chain(check_slug("slug", spec.slug), found)
    return list(itertools.islice(named, MAX_VIOLATIONS))


def _check_flow(spec: FlowSpec, max_steps: int, max_dependencies: int) -> Iterator[Violation]:
    yield from check_options("", spec)
    too_many = list(check_step_count(len(spec.steps), max_steps))
    if too_many:
        yield from too_many
        return
    first: dict[str, int] = {}
    for index, step in enumerate(spec.steps):
        yield from check_step(f"steps[{index}].", step, max_dependencies)
        if step.slug in first:
            yield Violation(
                f"steps[{index}].slug",
                Reason.DUPLICATE_STEP,
                f'"{_shown(step.slug)}" is the slug of steps[{first[step.slug]}] already; choose another',
            )
        first.setdefault(step.slug, index)
    yield from _check_unknown(spec, first)
    yield from _check_circles(spec, first)


def closest_step(names: Iterable[str]) -> Callable[[str], str | None]:
    """A function that tells which of the names was meant by another, if any."""
    return _Hints(names).closest


class _Hints:
    """What was meant by a name that does not exist, while the budget lasts."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._by_lower = {name.lower(): name for name in self._names}
        self._budget = _HINT_COMPARISONS

    def closest(self, name: str) -> str | None:
        """The name that is most like it, if any is."""
        if (same := self._by_lower.get(name.lower())) is not None:
            return same
        # The time of a comparison grows with the square of the length.
        cost = len(self._names) * (1 + len(name) ** 2 // 256)
        if cost > self._budget:
            return None
        self._budget -= cost
        return next(iter(difflib.get_close_matches(name, self._names, n=1)), None)


def _check_unknown(spec: FlowSpec, index_of: dict[str, int]) -> Iterator[Violation]:
    hints = _Hints(index_of)
    owner = f'flow "{_shown(spec.slug)}"' if spec.slug else "the plan"
    for index, step in enumerate(spec.steps):
        for position, slug in enumerate(step.depends_on):
            if slug in index_of:
                continue
            close = hints.closest(slug)
            close = None if close == step.slug else close
            yield Violation(
                f"steps[{index}].depends_on[{position}]",
                Reason.UNKNOWN_DEPENDENCY,
                f'step "{_shown(step.slug)}" depends on "{_shown(slug)}", which {owner} does not have; '
                + (f'did you mean "{close}"?' if close else "add that step, or drop the dependency"),
            )


def _check_circles(spec: FlowSpec, index_of: dict[str, int]) -> Iterator[Violation]:
    """A violation for each dependency that closes a circle; without them there is none."""
    for index, position, circle in _closing_dependencies(spec.steps, index_of):
        names = [_shown(slug) for slug in circle]
        if len(names) > 12:
            names = [*names[:6], f"… ({len(names) - 11} more)", *names[-5:]]
        yield Violation(
            f"steps[{index}].depends_on[{position}]",
            Reason.DEPENDENCY_CYCLE,
            f"the steps depend on each other in a circle: {' -> '.join(names)}; drop one of these dependencies",
        )


def _closing_dependencies(steps: Sequence[StepSpec], index_of: dict[str, int]) -> Iterator[tuple[int, int, list[str]]]:
    """Depth first from each step along its dependencies, in the author's order: (step, position, circle)."""
    done: set[int] = set()
    for root in range(len(steps)):
        if root in done:
            continue
        # The way from the root: (step, its dependencies that are still to be looked at).
        way: list[tuple[int, Iterator[tuple[int, str]]]] = [(root, iter(enumerate(steps[root].depends_on)))]
        on_way = {root: 0}
        while way:
            index, rest = way[-1]
            for position, slug in rest:
                target = index_of.get(slug)
                if target is None or target in done or target == index:
                    continue
                if target in on_way:
                    # Named as data flows: each step before the one that needs it.
                    circle = [steps[i].slug for i, _ in way[on_way[target] :]]
                    yield index, position, [circle[0], *reversed(circle)]
                    continue
                on_way[target] = len(way)
                way.append((target, iter(enumerate(steps[target].depends_on))))
                break
            else:
                way.pop()
                del on_way[index]
                done.add(index)


def topological_order(steps: Sequence[StepSpec]) -> list[StepSpec]:
    """The steps with each behind its dependencies, otherwise in the author's order (Kahn's algorithm).

    Args:
        steps: free of cycles and unknown dependencies.
    """
    needed_by: dict[str, list[int]] = {}
    missing = [len(step.depends_on) for step in steps]
    for index, step in enumerate(steps):
        for slug in step.depends_on:
            needed_by.setdefault(slug, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    ordered: list[StepSpec] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        ordered.append(step)
        for index in needed_by.get(step.slug, ()):
            missing[index] -= 1
            if not missing[index]:
                heapq.heappush(ready, index)
    if len(ordered) < len(steps):
        raise ValueError("the steps depend on each other in a circle")
    return ordered
