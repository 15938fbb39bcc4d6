"""The points of the kit, a file for each theme."""

from __future__ import annotations

from stepgres_conformance.points import (
    acks,
    credits,
    failures,
    greeting,
    lease,
    leaving,
    restarts,
    resume,
    stops,
    values,
    volume,
)

#: Themes in the order of the kit: what everything rests on comes first.
THEMES = tuple(
    module.__name__.rpartition(".")[2]
    for module in (greeting, values, failures, credits, lease, stops, acks, resume, restarts, leaving, volume)
)
