"""Points: what the kit looks at, one small function each, and where they are registered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepgres_conformance.bench import Bench

Check = Callable[["Bench"], Awaitable[None]]


class Broken(Exception):
    """The worker breaks a rule.

    Args:
        seen: what was seen, for the worker's author.
        rule: the rule; None = the first one of the point.
    """

    def __init__(self, seen: str, rule: str | None = None) -> None:
        super().__init__(seen)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that is judged."""

    #: Its name, such as `result-resent`.
    id: str
    #: Points of a theme share a file.
    theme: str
    #: What a worker that conforms does.
    sentence: str
    #: Rules of docs/protocol.md that it checks, the main one first.
    rules: tuple[str, ...]
    check: Check
    #: Tasks at a time that the worker is started with.
    concurrency: int = 10
    #: Standard handlers that it is started with; empty = all.
    handlers: tuple[str, ...] = ()
    #: It wants a worker process of its own.
    fresh: bool = False
    #: A minimal worker may leave it out.
    optional: bool = False
    #: Seconds after which it has failed, whatever it waits for.
    limit_s: float = 45.0


_POINTS: dict[str, Point] = {}


def point(
    id: str,  # noqa: A002 the word of the table
    rules: str,
    *,
    concurrency: int = 10,
    handlers: Iterable[str] = (),
    fresh: bool = False,
    optional: bool = False,
    limit_s: float = 45.0,
) -> Callable[[Check], Check]:
    """Registers a check; the first line of its docstring is its sentence.

    Args:
        id: its name.
        rules: rules of docs/protocol.md, separated by blanks, the main one first.
        concurrency: tasks at a time that its worker is started with.
        handlers: standard handlers that its worker is started with; none = all.
        fresh: start a worker for it alone.
        optional: a minimal worker may leave it out.
        limit_s: seconds after which it has failed.
    """

    def register(check: Check) -> Check:
        if id in _POINTS:
            raise ValueError(f"point {id} is registered twice")
        sentence = (check.__doc__ or "").strip().splitlines()[0]
        theme = check.__module__.rpartition(".")[2]
        _POINTS[id] = Point(
            id, theme, sentence, tuple(rules.split()), check, concurrency, tuple(handlers), fresh, optional, limit_s
        )
        return check

    return register


def all_points() -> tuple[Point, ...]:
    """Every point, in the order of the kit."""
    from stepgres_conformance import points

    themes = {name: number for number, name in enumerate(points.THEMES)}
    return tuple(sorted(_POINTS.values(), key=lambda p: themes[p.theme]))
