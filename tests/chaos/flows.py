"""The flows of the load. Every handler returns the name of its execution under `by`, wherever its output goes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from stepgres_worker import RunSpec, Step

#: Scope of some of the runs; every worker process has a session for it.
SCOPE = "blue"
#: Most attempts of the steps that fail by chance.
FLAKY_ATTEMPTS = 4

_DIAMOND = (
    Step("split", handler="work"),
    Step("left", depends_on=["split"], handler="work"),
    Step("right", depends_on=["split"], handler="work_in_thread"),
    Step("join", depends_on=["left", "right"], handler="work"),
)

FLOWS: dict[str, tuple[Step, ...]] = {
    "diamond": _DIAMOND,
    # A list, a task for each element, and what they returned together.
    "fan": (
        Step("list", handler="make_list"),
        Step("each", depends_on=["list"], step_type="map", handler="work"),
        Step("join", depends_on=["each"], handler="work"),
    ),
    # A map over the run input.
    "root_map": (Step("each", step_type="map", handler="work"), Step("join", depends_on=["each"], handler="work")),
    # Fails by chance and is tried again at once, or a second later.
    "flaky": (
        Step("soon", handler="fail_often", max_attempts=FLAKY_ATTEMPTS, base_delay_s=0),
        Step("later", depends_on=["soon"], handler="fail_often", max_attempts=FLAKY_ATTEMPTS, base_delay_s=1),
    ),
    # Holds its worker for a while: what kills and cancels find under way.
    "slow": (Step("wait", handler="wait"), Step("after", depends_on=["wait"], handler="work")),
    # Some attempts take longer than they may.
    "late": (Step("hang", handler="hang_sometimes", timeout_s=1, max_attempts=3, base_delay_s=0),),
    # One failure ends the run; clients retry it.
    "retried": (
        Step("each", step_type="map", handler="fail_rarely", max_attempts=1),
        Step("join", depends_on=["each"], handler="work"),
    ),
}
#: A plan that comes with its runs.
_PLAN = (Step("first", handler="work"), Step("second", depends_on=["first"], handler="work"))
#: How many runs of each kind among a hundred.
_MIX = {"diamond": 38, "blue": 8, "fan": 12, "root_map": 10, "flaky": 12, "slow": 6, "late": 2, "retried": 6, "plan": 6}


def some_runs(chance: random.Random, name: str) -> Iterator[RunSpec]:
    """Runs of all kinds, each under a key of its own: a start that was cut off is repeated and starts nothing twice.

    Args:
        chance: which kinds, and how large.
        name: begins the keys.
    """
    kinds, weights = list(_MIX), list(_MIX.values())
    number = 0
    while True:
        kind = chance.choices(kinds, weights)[0]
        number += 1
        yield _run(kind, f"{name}-{number}", chance)


def _run(kind: str, key: str, chance: random.Random) -> RunSpec:
    if kind == "blue":
        return RunSpec("diamond", {"key": key}, idempotency_key=key, scope=SCOPE)
    if kind == "plan":
        return RunSpec(input={"key": key}, idempotency_key=key, plan=_PLAN)
    given: Any = {"key": key, "items": chance.randint(0, 40)}
    if kind == "root_map":
        given = list(range(chance.randint(0, 40)))
    elif kind == "retried":
        given = list(range(10))
    return RunSpec(kind, given, idempotency_key=key)


def executions_in(value: Any) -> set[str]:
    """Names of the executions whose outputs are part of a value."""
    if isinstance(value, list):
        return {name for element in value for name in executions_in(element)}
    if isinstance(value, dict):
        found = {name for element in value.values() for name in executions_in(element)}
        return found | {value["by"]} if isinstance(value.get("by"), str) else found
    return set()
