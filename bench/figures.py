"""Collects measured values by key, and reports them: a table for people, one JSON object for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a figure should reach (design §10)."""

    value: float
    #: Whether less is better.
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        """Whether the value reaches it."""
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {_plain(self.value)}"


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    quick: bool

    @property
    def rounds(self) -> int:
        """Times that each scenario runs."""
        return 1 if self.quick else 3

    def scale(self, full: int, quick: int) -> int:
        """The size of a scenario: `full`, or `quick` in a quick run."""
        return quick if self.quick else full


class Figures:
    """The values of a run of the benchmark, in the order in which they came."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets
        self._values: dict[str, list[float]] = {}

    def add(self, key: str, value: float) -> None:
        """Adds one measured value and prints it."""
        self._values.setdefault(key, []).append(value)
        print(f"  {key:<34} {_plain(value):>12}", flush=True)

    def forget(self, *keys: str) -> None:
        """Drops the values of keys whose measurement failed half-way."""
        for key in keys:
            self._values.pop(key, None)

    def median(self, key: str) -> float | None:
        """The median of a key's values; None when it was not measured."""
        values = self._values.get(key)
        return statistics.median(values) if values else None

    def ratio(self, key: str, part: str, whole: str) -> None:
        """Adds the ratio of two medians, when both were measured."""
        a, b = self.median(part), self.median(whole)
        if a is not None and b:
            self._values[key] = [a / b]

    def table(self) -> str:
        """A line per key: median, spread, target."""
        lines = [f"{'':<34} {'median':>12}   {'spread':<25} target"]
        for key, values in self._values.items():
            target = self._targets.get(key)
            median = statistics.median(values)
            verdict = "" if target is None else f"{target}  {'reached' if target.met_by(median) else 'NOT REACHED'}"
            lines.append(f"{key:<34} {_plain(median):>12}   {_spread(values):<25} {verdict}".rstrip())
        return "\n".join(lines)

    def json(self, about: Mapping[str, object]) -> str:
        """One JSON object: the medians and what is said about the run."""
        medians = {key: float(f"{statistics.median(values):.4g}") for key, values in self._values.items()}
        whole = {key: int(value) if value == int(value) else value for key, value in medians.items()}
        return json.dumps({**whole, **about})


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    return f"{_plain(min(values))} … {_plain(max(values))}" if len(values) > 1 else ""
