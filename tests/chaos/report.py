"""What a run has shown, for people and as one JSON object, and what of it is not good enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.chaos.repeats import REPEATS_NOTHING
from tests.chaos.schedule import floors, task_floor

#: Violations that are figures of the report under their own names.
_FIGURES = ("lost", "recorded_twice", "stuck")


@dataclass(frozen=True)
class Report:
    """A finished run."""

    seed: int
    duration_s: int
    #: Whether only some kinds of faults were asked for: then no number of them is too small.
    is_partial: bool
    #: Findings of the checker, as it prints them.
    findings: dict[str, Any]
    #: How often what was done.
    done: dict[str, int]
    #: Lines "deadlock detected" of the database.
    deadlocks: int
    #: Repeated executions by the fault that explains each.
    repeats: dict[str, int]
    #: Tasks that had ended when the faults did.
    finished_tasks: int
    #: Seconds that the system took to settle.
    settled_s: float
    #: Seconds by kind of kill, None where there was none: kills that nothing else disturbed, and the others.
    recovery_s: dict[str, float | None]
    recovery_among_others_s: dict[str, float | None]

    def faults(self) -> list[str]:
        """What is not good enough, in words; empty = the run has passed."""
        short = [
            f"{what}: {self.done.get(what, 0)} were done and a run of {self.duration_s} s needs {least}"
            for what, least in floors(self.duration_s).items()
            if self.done.get(what, 0) < least and not self.is_partial
        ]
        if self.finished_tasks < task_floor(self.duration_s):
            short.append(f"tasks: {self.finished_tasks} ended and {task_floor(self.duration_s)} had to")
        if self.deadlocks:
            short.append(f"deadlocks: {self.deadlocks}; the log of the database tells where")
        short += [
            f"executed_twice: {self.repeats[reason]} times, and {reason} explains none"
            for reason in REPEATS_NOTHING
            if self.repeats.get(reason)
        ]
        for kind, examples in self.findings["examples"].items():
            short += [f"{kind}: {words}" for words in examples]
        return short

    def json(self) -> str:
        """The figures on one line."""
        violations = self.findings["violations"]
        figures = {
            "seed": self.seed,
            "duration_s": self.duration_s,
            "runs": self.findings["runs"],
            "tasks": self.findings["tasks"],
            "kills": {kind: self.done.get(kind, 0) for kind in ("worker", "coordinator", "postgres")},
            "cuts": self.done.get("cuts", 0),
            "stops": self.done.get("stops", 0),
            **{kind: violations[kind] for kind in _FIGURES},
            "deadlocks": self.deadlocks,
            "executed_twice": self.findings["executed_twice"],
            "executed_twice_by": self.repeats,
            "max_recovery_s": self.recovery_s,
            "max_recovery_among_others_s": self.recovery_among_others_s,
            "other_violations": {kind: count for kind, count in violations.items() if kind not in _FIGURES},
            "finished_tasks": self.finished_tasks,
            "settled_s": round(self.settled_s, 1),
            "ok": not self.faults(),
        }
        return json.dumps(figures)
