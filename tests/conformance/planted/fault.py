"""Where the faults are found by their names."""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[], None]

#: Name -> what plants it.
FAULTS: dict[str, Fault] = {}


def fault(plant: Fault) -> Fault:
    """Makes a fault known by its function's name."""
    FAULTS[plant.__name__] = plant
    return plant


@fault
def none() -> None:
    """The worker as it is."""
