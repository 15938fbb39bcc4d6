from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest

from tests.chaos.checker import KINDS
from tests.chaos.report import Report
from tests.chaos.schedule import FLOORS, floors, schedule, task_floor

GOOD = Report(
    seed=1,
    duration_s=60,
    is_partial=False,
    findings={
        "runs": 5000, "tasks": 21_000, "executed_twice": 7, "violations": dict.fromkeys(KINDS, 0), "examples": {}
    },
    done=FLOORS,
    deadlocks=0,
    repeats={"worker": 7},
    finished_tasks=20_000,
    settled_s=3.0,
    recovery_s={"worker": 2.5, "coordinator": 0.3, "both": None, "postgres": 1.0},
    recovery_among_others_s={"worker": None, "coordinator": None, "both": 17.0, "postgres": None},
)  # fmt: skip


def test_enough_of_everything_passes():
    assert GOOD.faults() == []
    figures = json.loads(GOOD.json())
    assert {
        "seed", "duration_s", "runs", "tasks", "kills", "lost", "recorded_twice", "stuck", "deadlocks",
        "executed_twice", "max_recovery_s",
    } <= figures.keys()  # fmt: skip
    assert figures["kills"] == {"worker": 10, "coordinator": 4, "postgres": 2}


@pytest.mark.parametrize("what", FLOORS)
def test_a_fault_too_few_fails(what):
    tame = dataclasses.replace(GOOD, done={**FLOORS, what: FLOORS[what] - 1})
    assert [fault.partition(":")[0] for fault in tame.faults()] == [what]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"finished_tasks": 19_999}, "tasks"),
        ({"deadlocks": 1}, "deadlocks"),
        ({"repeats": {"coordinator": 1}}, "executed_twice"),
        ({"findings": {**GOOD.findings, "examples": {"lost": ["run x was accepted and is not there"]}}}, "lost"),
    ],
)
def test_everything_else_that_is_wrong_fails_and_is_named(change, named):
    (fault,) = dataclasses.replace(GOOD, **change).faults()
    assert fault.startswith(f"{named}:")


@pytest.mark.parametrize("duration_s", [5, 20, 60, 90, 600])
def test_what_is_scheduled_is_enough(duration_s):
    counts = Counter(fault.kind for fault in schedule(duration_s, seed=1))
    done = {
        "worker": counts["worker"] + counts["both"],
        "coordinator": counts["coordinator"] + counts["both"],
        "postgres": counts["postgres"],
        "cuts": counts["cut"] + counts["half_open"],
        "stops": counts["stop_worker"] + counts["stop_coordinator"] + counts["stop_postgres"],
    }
    assert all(done[what] >= least for what, least in floors(duration_s).items())
    assert task_floor(60) == 20_000


def test_a_seed_decides_everything():
    assert schedule(60, seed=3) == schedule(60, seed=3) != schedule(60, seed=4)
    times = [fault.at_s for fault in schedule(60, seed=3)]
    assert times == sorted(times)
    assert times[-1] < 60
