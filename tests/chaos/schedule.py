"""What is done to the system, and when: everything a seed decides."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

#: worker, coordinator, postgres: kill -9 (of Postgres also an immediate stop, or one of its connections). both: a worker
#: and a coordinator at the same moment. cut: a connection breaks. half_open: it carries nothing more, and nobody is
#: told. stop_*: SIGSTOP, and SIGCONT some seconds later.
Kind = Literal[
    "worker", "coordinator", "both", "postgres", "cut", "half_open", "stop_worker", "stop_coordinator", "stop_postgres"
]
#: Faults in a minute.
_PER_MINUTE: dict[Kind, int] = {
    "worker": 8, "both": 2, "coordinator": 2, "postgres": 2, "cut": 3, "half_open": 2,
    "stop_worker": 2, "stop_coordinator": 2, "stop_postgres": 1,
}  # fmt: skip
KINDS = tuple(_PER_MINUTE)
#: What a minute must have had at least, as counted by done().
FLOORS = {"worker": 10, "coordinator": 4, "postgres": 2, "cuts": 4, "stops": 4}


@dataclass(frozen=True)
class Fault:
    """One thing that is done."""

    #: Seconds after the beginning.
    at_s: float
    kind: Kind
    #: Between 0 and 1: decides which process or connection, and how.
    chance: float
    #: Seconds that a stop lasts; some outlast a lease.
    stop_s: float


def schedule(duration_s: int, seed: int, only: frozenset[str] = frozenset()) -> list[Fault]:
    """The faults of a run in the order of time.

    Args:
        duration_s: seconds over which they spread; less than a minute gets a share of a minute's, of each kind one.
        seed: the same seed gives the same faults.
        only: the kinds to do; empty = all.
    """
    chance = random.Random(f"faults {seed}")
    kinds = [kind for kind, count in _PER_MINUTE.items() for _ in range(math.ceil(count * duration_s / 60))]
    kinds = [kind for kind in kinds if not only or kind in only]
    chance.shuffle(kinds)
    slot_s = duration_s / len(kinds)
    return [
        Fault((number + chance.uniform(0, 0.8)) * slot_s, kind, chance.random(), _stop_s(chance, kind))
        for number, kind in enumerate(kinds)
    ]


def _stop_s(chance: random.Random, kind: Kind) -> float:
    longest = 5.0 if kind == "stop_postgres" else chance.choice([4.0, 20.0])
    return chance.uniform(1.0, longest)


def floors(duration_s: int) -> dict[str, int]:
    """What a run of this many seconds must have had at least."""
    return {what: math.floor(count * duration_s / 60) for what, count in FLOORS.items()}


def task_floor(duration_s: int) -> int:
    """Tasks that must end meanwhile."""
    return math.floor(20_000 * duration_s / 60)
