"""Drawings of a flow: Mermaid text for documents, rails for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Rails side by side; a flow that needs more is listed instead.
_MAX_RAILS = 30


@dataclass(frozen=True, slots=True)
class Node:
    """A step as it is drawn."""

    slug: str
    #: Slugs of the steps it needs; all of them are nodes.
    depends_on: tuple[str, ...]
    is_map: bool
    #: Empty: the step's own.
    handler: str = ""

    def label(self) -> str:
        """`resize (map, by resize_image)`."""
        notes = [*(["map"] if self.is_map else []), *([f"by {self.handler}"] if self.handler else [])]
        return f"{self.slug} ({', '.join(notes)})" if notes else self.slug


def sort_nodes(nodes: Sequence[Node]) -> list[Node]:
    """The nodes with each behind what it needs, otherwise in their order; a circle's nodes come last."""
    by_slug = {node.slug: node for node in nodes}
    done: dict[str, Node] = {}
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if all(slug in done or slug not in by_slug for slug in node.depends_on)]
        for node in ready or waiting:
            done[node.slug] = node
        waiting = [node for node in waiting if node.slug not in done]
    return list(done.values())


def mermaid(nodes: Sequence[Node]) -> str:
    """The flow as a Mermaid flowchart; maps are drawn as stacks."""
    lines = ["flowchart TD", *(f"    {_shape(node)}" for node in nodes)]
    ids = {node.slug: _id(node) for node in nodes}
    lines += [f"    {ids[slug]} --> {ids[node.slug]}" for node in nodes for slug in node.depends_on if slug in ids]
    return "\n".join(lines)


def _shape(node: Node) -> str:
    return (
        f'{_id(node)}@{{ shape: procs, label: "{node.label()}" }}' if node.is_map else f'{_id(node)}["{node.label()}"]'
    )


def _id(node: Node) -> str:
    # `end`, `style` and others are words of Mermaid; with the prefix no slug is.
    return f"s_{node.slug}"


def draw(nodes: Sequence[Node]) -> str:
    """The flow for a terminal: a step a line, rails from each step to those that need it, downwards.

    ● fetch
    ├─╮
    ● │ words
    │ ● links (map)
    ├─╯
    ● report

    An empty line stands between steps that do not need each other.
    """
    ordered = sort_nodes(nodes)
    needed_by: dict[str, list[str]] = {node.slug: [] for node in ordered}
    for node in ordered:
        for slug in node.depends_on:
            needed_by.get(slug, []).append(node.slug)
    rails = _Rails()
    for node in ordered:
        rails.step(node.slug, node.label(), needed_by[node.slug])
        if rails.width > _MAX_RAILS:
            return _listed(ordered, needed_by)
    return "\n".join(rails.lines)


def _listed(ordered: Iterable[Node], needed_by: Mapping[str, Sequence[str]]) -> str:
    """Too wide to draw: each step with what it needs."""
    lines = []
    for node in ordered:
        needs = ", ".join(node.depends_on[:8]) + (
            f" and {len(node.depends_on) - 8} more" if len(node.depends_on) > 8 else ""
        )
        lines.append(
            f"● {node.label()}" + (f"  ← {needs}" if needs else "") + ("" if needed_by[node.slug] else "  (leaf)")
        )
    return "\n".join(lines)


class _Rails:
    """Rails under way: each leads to the step that it names."""

    def __init__(self) -> None:
        self._rails: list[str | None] = []
        self.lines: list[str] = []
        self.width = 0
        #: Column of the step drawn last, if nothing needs it.
        self._ended: int | None = None

    def step(self, slug: str, label: str, needed_by: Sequence[str]) -> None:
        """Draws a step: its rails join, and those to the steps that need it part."""
        mine = [column for column, rail in enumerate(self._rails) if rail == slug] or [self._free(0)]
        column = mine[0]
        self._rails[column] = slug
        if len(mine) > 1:
            self._across(column, mine[1:], "╯", "┴")
            for joined in mine[1:]:
                self._rails[joined] = None
        elif column == self._ended:
            # Right below it a step of its own would look as if it needed it.
            self._draw({column: " "}, "")
        self._draw({column: "●"}, f" {label}")
        self._ended = None if needed_by else column
        self._rails[column] = needed_by[0] if needed_by else None
        new = []
        for other in needed_by[1:]:
            new.append(self._free(column + 1))
            self._rails[new[-1]] = other
        if new:
            self._across(column, new, "╮", "┬")
        while self._rails and self._rails[-1] is None:
            self._rails.pop()

    def _free(self, start: int) -> int:
        """The first column from start that no rail uses."""
        for column, rail in enumerate(self._rails):
            if column >= start and rail is None:
                return column
        self._rails.extend([None] * (max(start, len(self._rails)) + 1 - len(self._rails)))
        self.width = max(self.width, len(self._rails))
        return len(self._rails) - 1

    def _across(self, column: int, ends: Sequence[int], last: str, between: str) -> None:
        marks = dict.fromkeys(ends, between) | {max(ends): last, column: "├"}
        for crossed in range(column + 1, max(ends)):
            marks.setdefault(crossed, "┼" if self._rails[crossed] else "─")
        self._draw(marks, "", line=(column, max(ends)))

    def _draw(self, marks: Mapping[int, str], label: str, line: tuple[int, int] = (0, 0)) -> None:
        text = ""
        for column, rail in enumerate(self._rails):
            text += marks.get(column, "│" if rail else " ")
            text += "─" if line[0] <= column < line[1] else " "
        self.lines.append(text.rstrip() + label)
