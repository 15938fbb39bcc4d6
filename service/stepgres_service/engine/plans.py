"""Inline plans: definitions that come with a run. A plan is named after its content, so that equal ones are stored once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from stepgres_service.engine.checks import check_flow, in_path_order, is_slug, once_a_path, topological_order
from stepgres_service.errors import Reason, Violation
from stepgres_service.model import FlowSpec, StepSpec

#: Shared queue of all plans.
PLAN_QUEUE = "plans"
#: Dependencies in all from which a plan is checked in a thread.
_LARGE = 20_000
#: Plans that are checked before others get their turn on the loop: some 1 ms of small ones.
_IN_A_ROW = 8
#: Plans that a coordinator remembers to have stored.
_MAX_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that is fit to be stored."""

    #: `plan:` and the first 32 hex digits of the sha256 of its content.
    slug: str
    #: What is stored, JSON in UTF-8, its steps in an order in which they can be made.
    definition: bytes


def plan_of(spec: FlowSpec) -> Plan:
    """A plan by its content: the same slug for every way to write the same plan.

    Args:
        spec: free of violations. The order of its steps only decides how they are numbered when the plan is stored,
            as with flows; it is no part of the content, nor is the order of dependencies and of keys in params.
    """
    steps = [(step.slug, _json(_step(step))) for step in topological_order(spec.steps)]
    options = _json(
        {
            "max_attempts": 3 if spec.max_attempts is None else spec.max_attempts,
            "timeout_s": 30 if spec.timeout_s is None else spec.timeout_s,
            "base_delay_s": spec.base_delay_s,
            "max_delay_s": spec.max_delay_s,
        }
    )
    digest = hashlib.sha256(_document(options, sorted(steps))).hexdigest()
    return Plan(f"plan:{digest[:32]}", _document(options, steps))


def _document(options: str, steps: list[tuple[str, str]]) -> bytes:
    return f'{options[:-1]},"steps":[{",".join(text for _, text in steps)}]}}'.encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _step(step: StepSpec) -> dict[str, Any]:
    return {
        "slug": step.slug,
        "step_type": step.step_type.value,
        "depends_on": sorted(step.depends_on),
        "initial_tasks": step.initial_tasks,
        "max_attempts": step.max_attempts,
        "timeout_s": step.timeout_s,
        "base_delay_s": step.base_delay_s,
        "max_delay_s": step.max_delay_s,
        "handler": step.handler or step.slug,
        "params": json.loads(step.params) if step.params else {},
    }


def check_plan(spec: FlowSpec, *, max_steps: int = 2000, max_dependencies: int = 2000) -> list[Violation]:
    """Everything that is wrong with a plan, as `check_flow` tells it, and what only flows have."""
    found = []
    if spec.slug:
        message = f'"{spec.slug[:128]}" is given, but a plan is named after its content; leave it out, or create a flow'
        found.append(Violation("slug", Reason.FIELD_INVALID, message))
    queues = [("queue", spec.queue), *((f"steps[{i}].queue", step.queue) for i, step in enumerate(spec.steps))]
    found += [
        Violation(
            path,
            Reason.FIELD_INVALID,
            f'"{queue[:128]}" is given, but all plans share the queue "{PLAN_QUEUE}"; leave it out, or create a flow',
        )
        for path, queue in queues
        if queue is not None and queue != PLAN_QUEUE and is_slug(queue)
    ]
    more = check_flow(replace(spec, slug=""), max_steps=max_steps, max_dependencies=max_dependencies, plan=True)
    return once_a_path(found, more)


class PlanChecker:
    """Makes plans of what callers send.

    Args:
        max_steps: steps a plan may have.
        max_dependencies: dependencies a step may have.
    """

    def __init__(self, *, max_steps: int = 2000, max_dependencies: int = 2000) -> None:
        self._max_steps = max_steps
        self._max_dependencies = max_dependencies
        self._in_a_row = 0

    async def check(self, spec: FlowSpec, found: Iterable[Violation] = ()) -> Plan | list[Violation]:
        """The plan, or everything that is wrong with it.

        Args:
            spec: as its author wrote it.
            found: what is wrong already; told first, and instead of what is found here in the same place.
        """
        if sum(len(step.depends_on) for step in spec.steps) < _LARGE:
            self._in_a_row = (self._in_a_row + 1) % _IN_A_ROW
            if not self._in_a_row:
                await asyncio.sleep(0)
            return self._made(spec, [*found])
        return await asyncio.to_thread(self._made, spec, [*found])

    def _made(self, spec: FlowSpec, found: list[Violation]) -> Plan | list[Violation]:
        more = check_plan(spec, max_steps=self._max_steps, max_dependencies=self._max_dependencies)
        return in_path_order(once_a_path(found, more)) or plan_of(spec)


class KnownPlans:
    """Slugs of plans that were in the database when they were last used; the longest unused are forgotten."""

    def __init__(self, limit: int = _MAX_KNOWN) -> None:
        self._limit = limit
        self._slugs: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, slug: str) -> bool:
        return slug in self._slugs

    def add(self, slugs: Iterable[str]) -> None:
        """Remembers plans."""
        for slug in slugs:
            self._slugs[slug] = None
            self._slugs.move_to_end(slug)
        while len(self._slugs) > self._limit:
            self._slugs.popitem(last=False)

    def forget(self, slugs: Iterable[str]) -> None:
        """Forgets plans that turned out to be gone."""
        for slug in slugs:
            self._slugs.pop(slug, None)
