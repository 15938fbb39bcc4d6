"""What PostgreSQL did for the statements inside functions: plans, rows and buffers, as auto_explain tells them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg


@dataclass(frozen=True)
class Scan:
    """A node that reads a table."""

    kind: str
    table: str
    #: None for a sequential scan.
    index: str | None
    #: How the index is entered; empty: it is read from one end to the other.
    condition: str
    #: Rows it gave and threw away, over all loops.
    rows: int


@dataclass(frozen=True)
class Statement:
    """A statement that ran, and how."""

    text: str
    scans: tuple[Scan, ...]
    #: Pages read, cached or not.
    buffers: int
    #: Rows that its nodes gave and threw away, those that read no table too.
    rows: int


@asynccontextmanager
async def explained(conn: psycopg.AsyncConnection[Any]) -> AsyncIterator[list[Statement]]:
    """Collects the statements that run on a connection, those inside functions too; filled when the block ends."""
    notices: list[str] = []

    def keep(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(diagnostic.message_primary or "")

    await conn.execute("load 'auto_explain'")
    for name, value in _SETTINGS.items():
        await conn.execute("select set_config(%s, %s, false)", (name, value))
    conn.add_notice_handler(keep)
    statements: list[Statement] = []
    try:
        yield statements
    finally:
        conn.remove_notice_handler(keep)
        await conn.execute("select set_config('auto_explain.log_min_duration', '-1', false)")
    statements += [_statement(json.loads(text.partition("plan:")[2])) for text in notices if "plan:" in text]


_SETTINGS = {
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_min_duration": "0",
}


def _statement(explained: dict[str, Any]) -> Statement:
    plan = explained["Plan"]
    scans = tuple(
        Scan(
            kind=node["Node Type"],
            table=node["Relation Name"],
            index=node.get("Index Name"),
            condition=node.get("Index Cond", ""),
            rows=_rows(node),
        )
        for node in _nodes(plan)
        if "Relation Name" in node and node["Node Type"] != "ModifyTable"
    )
    return Statement(
        text=" ".join(explained["Query Text"].split()),
        scans=scans,
        buffers=plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0),
        rows=sum(_rows(node) for node in _nodes(plan)),
    )


def _rows(node: dict[str, Any]) -> int:
    removed = sum(node.get(f"Rows Removed by {by}", 0) for by in ("Filter", "Join Filter"))
    return round(node["Actual Loops"] * (node["Actual Rows"] + removed))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
