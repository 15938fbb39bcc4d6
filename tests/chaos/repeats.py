"""Why tasks were executed twice: each repetition and the fault that explains it.

At least once is the guarantee, so a repetition is no violation. But a coordinator's end explains none: its workers
resume their sessions elsewhere and go on.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

from tests.chaos.journal import Entry, read_journal

#: Faults that take tasks away from workers, the plainest reason first, and for how many seconds after them. A killed
#: worker's tasks run elsewhere. A stopped worker, or one behind a half-open connection, is silent for a lease. A crash of
#: the database forgets leases that were not flushed. A stopped coordinator or database keeps renewals from being made.
_REASONS = {
    "worker": 120.0, "both": 120.0, "stop_worker": 30.0, "half_open": 60.0, "postgres": 20.0, "stop_coordinator": 30.0,
    "stop_postgres": 30.0, "cut": 5.0,
}  # fmt: skip
#: Those that concern one worker only.
_OWN = {"worker", "both", "stop_worker", "half_open", "cut"}
#: What is left: these should have repeated nothing.
REPEATS_NOTHING = ("coordinator", "nothing")


def repeats_by_reason(journal: Path) -> dict[str, int]:
    """Number of repetitions by the fault that explains them best."""
    faults: list[Entry] = []
    retries: Counter[str] = Counter()
    executions: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    # In the order of time: lines stand in the order in which the disk took them.
    for entry in sorted(read_journal(journal), key=lambda entry: float(entry["at"])):
        if entry["kind"] == "fault" and entry["what"] != "continue":
            faults.append(entry)
        elif entry["kind"] == "retried":
            retries[entry["run"]] += 1
        elif entry["kind"] == "execution":
            run = entry["run"]
            executions[run, entry["step"], entry["index"], entry["attempt"], retries[run]].append(entry)
    found: Counter[str] = Counter()
    for repeated in executions.values():
        for first, second in itertools.pairwise(repeated):
            reason = _reason(first, second, faults)
            # A client whose answer was lost may have asked for one retry twice.
            found["retried" if reason in REPEATS_NOTHING and retries[first["run"]] else reason] += 1
    return dict(found)


def _reason(first: Entry, second: Entry, faults: list[Entry]) -> str:
    # The second may be the older one: it was on its way to a worker that stood still.
    workers = {entry["worker"].partition(".")[0] for entry in (first, second)}
    for what, after_s in _REASONS.items():
        for fault in faults:
            names = [name.partition(".")[0] for name in fault["names"]]
            lasted_s = after_s + fault.get("stop_s", 0.0)
            if (
                fault["what"] == what
                and fault["at"] < second["at"]
                and fault["at"] + lasted_s > first["at"]
                and (what not in _OWN or not workers.isdisjoint(names))
                and (
                    what not in ("worker", "both") or (fault["at"] > first["at"] and first["worker"] in fault["names"])
                )
            ):
                return what
    near = any(f["what"] == "coordinator" and first["at"] - 1 < f["at"] < second["at"] for f in faults)
    return REPEATS_NOTHING[0] if near else REPEATS_NOTHING[1]
