"""Whether a plan is valid, written from the rules of definitions alone and sharing no code with the coordinator."""

from __future__ import annotations

from typing import Any

_LETTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SLUG = _LETTERS | set("0123456789")
_HANDLER = _SLUG | {".", "-"}
_RANGES = {
    "max_attempts": (1, 1000),
    "timeout_s": (1, 2_592_000),
    "base_delay_s": (0, 86_400),
    "max_delay_s": (0, 604_800),
}


_INT32 = {"max_attempts", "timeout_s", "base_delay_s", "max_delay_s", "initial_tasks"}
_TEXT = {"slug", "handler", "queue"}
_FLOW = {"slug", "steps", "max_attempts", "timeout_s", "base_delay_s", "max_delay_s", "queue", "new_version"}
_STEP = (_INT32 | _TEXT | {"depends_on", "step_type", "params"}, {"dependsOn": "depends_on"})


def is_valid(plan: dict[str, Any]) -> bool:
    """Whether CreateFlow must accept a plan of a new flow."""
    return _has_form(plan) and _is_right(
        {**plan, "steps": [{_STEP[1].get(name, name): step[name] for name in step} for step in plan.get("steps", [])]}
    )


def _has_form(plan: dict[str, Any]) -> bool:
    steps = plan.get("steps", [])
    return (
        set(plan) <= _FLOW
        and isinstance(steps, list)
        and isinstance(plan.get("new_version", False), bool)
        and _has_types(plan)
        and all(isinstance(step, dict) and _is_shaped(step) for step in steps)
    )


def _has_types(owner: dict[str, Any]) -> bool:
    return all(
        type(value) is int and abs(value) < 2**31 if name in _INT32 else isinstance(value, str)
        for name, value in owner.items()
        if name in _INT32 | _TEXT
    )


def _is_shaped(step: dict[str, Any]) -> bool:
    names = [_STEP[1].get(name, name) for name in step]
    needs = step.get("dependsOn", step.get("depends_on", []))
    return (
        set(names) <= _STEP[0]
        and len(set(names)) == len(names)
        and _has_types(step)
        and isinstance(needs, list)
        and all(isinstance(slug, str) for slug in needs)
        and isinstance(step.get("params", {}), dict)
        and step.get("step_type", "single") in ("single", "map", "STEP_TYPE_SINGLE", "STEP_TYPE_MAP")
    )


def _is_right(plan: dict[str, Any]) -> bool:
    steps = plan.get("steps", [])
    slugs = [step.get("slug", "") for step in steps]
    return (
        _is_slug(plan.get("slug", ""))
        and _has_options(plan)
        and len(set(slugs)) == len(slugs)
        and all(_is_step(step, set(slugs)) for step in steps)
        and _has_order(steps)
    )


def _is_slug(text: str) -> bool:
    return 1 <= len(text) <= 128 and text[0] in _LETTERS and set(text) <= _SLUG and text != "run"


def _has_options(owner: dict[str, Any]) -> bool:
    in_range = all(low <= owner[name] <= high for name, (low, high) in _RANGES.items() if name in owner)
    return in_range and ("queue" not in owner or not owner["queue"] or _is_slug(owner["queue"]))


def _is_step(step: dict[str, Any], slugs: set[str]) -> bool:
    needs = step.get("depends_on", [])
    is_map = step.get("step_type") in ("map", "STEP_TYPE_MAP")
    handler = step.get("handler", "")
    return (
        _is_slug(step.get("slug", ""))
        and _has_options(step)
        and len(set(needs)) == len(needs)
        and set(needs) <= slugs - {step["slug"]}
        and (not is_map or len(needs) <= 1)
        and ("initial_tasks" not in step or (is_map and step["initial_tasks"] >= 0))
        and (not handler or (len(handler) <= 260 and handler[0] in _LETTERS and set(handler) <= _HANDLER))
    )


def _has_order(steps: list[dict[str, Any]]) -> bool:
    waiting = {step["slug"]: set(step.get("depends_on", [])) for step in steps}
    while waiting:
        ready = {slug for slug, needs in waiting.items() if not needs & waiting.keys()}
        if not ready:
            return False
        for slug in ready:
            del waiting[slug]
    return True
