"""Fixes: for what is wrong with a definition, the JSON Patch (RFC 6902) that mends it.

A fix changes the author's document, CreateFlowRequest as JSON with its original field names, and nothing that the author
did not get wrong. Where no change keeps the meaning (a map with two dependencies, a dependency that resembles no step) there
is none, and the violation's hint says what to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from stepgres_service.engine.checks import RANGES, closest_step, is_slug
from stepgres_service.errors import Reason, Violation
from stepgres_service.model import FlowSpec

#: An operation: {"op": "add", "path": "/steps/2/slug", "value": …}.
Operation = dict[str, Any]

_STEP = re.compile(r"steps\[(\d+)\]")
_ELEMENT = re.compile(r"steps\[(\d+)\]\.depends_on\[(\d+)\]\Z")
_NAMED = frozenset({Reason.INVALID_SLUG, Reason.FIELD_REQUIRED, Reason.NUL_CHARACTER, Reason.INVALID_HANDLER})
#: What a flow has and an inline plan is refused for.
_NOT_OF_PLANS = frozenset({"slug", "queue", "new_version"})
_DROPPED = frozenset({Reason.SELF_DEPENDENCY, Reason.DUPLICATE_DEPENDENCY, Reason.DEPENDENCY_CYCLE})


class Fixer:
    """Finds the fixes of one definition's violations; each is meant for the document as it was sent.

    Args:
        spec: the definition.
    """

    def __init__(self, spec: FlowSpec) -> None:
        self._spec = spec
        self._slugs = {step.slug for step in spec.steps}
        self._closest = closest_step(self._slugs)
        #: Slug of a step -> what gives it another one. Slugs are looked at before dependencies.
        self._renamed: dict[str, list[Operation]] = {}

    def fix(self, violation: Violation) -> list[Operation]:
        """What mends a violation; empty when nothing does without its author's word."""
        path, reason = violation.path, violation.reason
        name = path.rpartition(".")[2]
        if element := _ELEMENT.match(path):
            return self._fix_dependency(int(element[1]), int(element[2]), reason)
        if reason is Reason.DUPLICATE_STEP:
            return self._fix_duplicate(int(_STEP.match(path)[1]))  # type: ignore[index]
        if reason is Reason.FIELD_INVALID and name in _NOT_OF_PLANS:
            return [_remove(path)]
        if name == "slug" and reason in _NAMED:
            return self._rename(path)
        if name in ("queue", "handler") and reason in _NAMED:
            return self._rewrite(path, name)
        if reason is Reason.INITIAL_TASKS_ON_SINGLE or (
            name == "initial_tasks" and reason is Reason.FIELD_OUT_OF_RANGE
        ):
            return [_remove(path)]
        if reason is Reason.FIELD_OUT_OF_RANGE and name in RANGES:
            lowest, highest = RANGES[name]
            return [_set(path, lowest if self._value(path) < lowest else highest)]
        return []

    def _value(self, path: str) -> Any:
        found = _STEP.match(path)
        owner: Any = self._spec.steps[int(found[1])] if found else self._spec
        return getattr(owner, path.rpartition(".")[2])

    def _fix_dependency(self, index: int, position: int, reason: Reason) -> list[Operation]:
        path = f"steps[{index}].depends_on[{position}]"
        if reason in _DROPPED:
            return [_remove(path)]
        step = self._spec.steps[index]
        meant = self._closest(step.depends_on[position])
        if reason not in (Reason.UNKNOWN_DEPENDENCY, Reason.NUL_CHARACTER) or meant in (None, step.slug):
            return []
        if meant in step.depends_on:
            return [_remove(path)]
        rename = self._renamed.get(meant, [])
        return [*rename, {"op": "replace", "path": _pointer(path), "value": rename[0]["value"] if rename else meant}]

    def _fix_duplicate(self, index: int) -> list[Operation]:
        step = self._spec.steps[index]
        first = next(other for other in self._spec.steps if other.slug == step.slug)
        if step == first:
            return [_remove(f"steps[{index}]")]
        return [_set(f"steps[{index}].slug", self._unused(step.slug))]

    def _rename(self, path: str) -> list[Operation]:
        """Another slug, also where other steps refer to it."""
        found = _STEP.match(path)
        old = self._value(path)
        if found is None:
            return [_set(path, _slug_from(old, "flow"))]
        index = int(found[1])
        new = self._unused(_slug_from(old, f"step_{index + 1}"))
        operations = [_set(path, new)]
        if old and next(i for i, step in enumerate(self._spec.steps) if step.slug == old) == index:
            operations += [
                {"op": "replace", "path": _pointer(f"steps[{i}].depends_on[{position}]"), "value": new}
                for i, step in enumerate(self._spec.steps)
                for position, slug in enumerate(step.depends_on)
                if slug == old
            ]
            self._renamed[old] = operations
        return operations

    def _rewrite(self, path: str, name: str) -> list[Operation]:
        old = self._value(path) or ""
        if name == "queue":
            return [_set(path, _slug_from(old, "queue"))]
        text = re.sub(r"[^a-zA-Z0-9_.-]", "_", old)
        text = text if re.match(r"[a-zA-Z_]", text) else f"_{text}"
        return [_set(path, text[:260])]

    def _unused(self, slug: str) -> str:
        """The slug, or with a number behind it, that no step has; it is taken from now on."""
        number, candidate = 1, slug
        while candidate in self._slugs:
            number += 1
            candidate = f"{slug[:120]}_{number}"
        self._slugs.add(candidate)
        return candidate


def combine(fixes: Iterable[Sequence[Operation]]) -> list[Operation]:
    """All fixes of one definition as one patch: first what sets values, then what removes, from the back.

    Of two fixes that set one place the first counts; nothing is changed inside of what is removed.
    """
    operations = [operation for fix in fixes for operation in fix]
    removed = {operation["path"] for operation in operations if operation["op"] == "remove"}
    kept: dict[str, Operation] = {}
    for operation in operations:
        path = operation["path"]
        inside = any(path == gone or path.startswith(f"{gone}/") for gone in removed)
        if operation["op"] != "remove" and not inside:
            kept.setdefault(path, operation)
    outermost = [path for path in removed if not any(path.startswith(f"{gone}/") for gone in removed)]
    outermost.sort(key=_position, reverse=True)
    return [*kept.values(), *({"op": "remove", "path": path} for path in outermost)]


def _position(pointer: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts pointers as they stand in the document; numbers by their value."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in pointer.split("/"))


def _pointer(path: str) -> str:
    """`steps[2].depends_on[0]` -> `/steps/2/depends_on/0`."""
    return "/" + path.replace("[", "/").replace("]", "").replace(".", "/")


def _set(path: str, value: Any) -> Operation:
    return {"op": "add", "path": _pointer(path), "value": value}


def _remove(path: str) -> Operation:
    return {"op": "remove", "path": _pointer(path)}


def _slug_from(text: str | None, otherwise: str) -> str:
    """The nearest slug: `fetch url` -> `fetch_url`, `2nd` -> `_2nd`, `run` -> `run_`."""
    slug = re.sub(r"[^a-zA-Z0-9_]", "_", text or "")[:120]
    if not slug.strip("_"):
        return otherwise
    if slug[0].isdigit():
        slug = f"_{slug}"
    return slug if is_slug(slug) else f"{slug}_"
