"""Answers on standard output: tables for people, JSON with the contract's field names for programs."""

from __future__ import annotations

import datetime
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from stepgres_cli.options import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

#: One colour a status, and always the word beside it.
STATUS_STYLES = {
    "created": "dim",
    "queued": "dim",
    "started": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
}


def console() -> Console:
    """The console of standard output; plain text when it is no terminal."""
    from rich.console import Console

    # A pipe has no width to fold to: what reads it wants each row on one line.
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 1000
    return Console(highlight=False, emoji=False, markup=False, width=width)


def print_json(value: Any, output: Output) -> None:
    """One document: indented with JSON, a line with JSONL."""
    if output is Output.JSON:
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def print_list(name: str, items: Iterable[dict[str, Any]], next_page_token: str, output: Output) -> None:
    """A list: `{name: […], "next_page_token": "…"}` with JSON, an item a line with JSONL."""
    if output is Output.JSON:
        print_json({name: list(items), "next_page_token": next_page_token}, output)
        return
    for item in items:
        print_json(item, output)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table for people; `empty` says what to do when there are no rows. Cells named `status` are coloured."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        numeric = column in {"v", "version", "steps"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=column == "run")
    for row in rows:
        table.add_row(*(_cell(Text, column, value) for column, value in zip(columns, row, strict=True)))
    if not table.row_count:
        print(empty)
        return
    console().print(table)


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values of one thing, for people; what is empty is left out."""
    rows = [(name, value) for name, value in facts if value not in (None, "", ())]
    print_table_without_header(rows)


def print_table_without_header(rows: Iterable[tuple[str, Any]]) -> None:
    """Two columns, the first one dim."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), _cell(Text, name, value))
    console().print(table)


def _cell(text: Any, column: str, value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return text(local_time(value))
    if isinstance(value, tuple | list):
        return text(", ".join(map(str, value)))
    style = STATUS_STYLES.get(str(value), "") if column == "status" else ""
    return text("" if value is None else str(value), style=style)


def local_time(moment: datetime.datetime | None) -> str:
    """A time as people here read it."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_time(moment: datetime.datetime | None) -> str:
    """The time of a moment of today, else its day: a row with an id must fit into 80 columns."""
    if moment is None:
        return ""
    here = moment.astimezone()
    today = here.date() == datetime.datetime.now(datetime.UTC).astimezone().date()
    return here.strftime("%H:%M:%S" if today else "%Y-%m-%d")


def seconds(value: float | None) -> str:
    """A duration: `0.42 s`, `12.3 s`, `3:07 min`, `2:05:09 h`."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.2f} s"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def counted(count: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def elapsed(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    """Seconds from start to end, or to now; None when it has not started. The clocks of two machines may differ."""
    if start is None:
        return None
    return max(0.0, ((end or datetime.datetime.now(datetime.UTC)) - start).total_seconds())


def pretty_payload(raw: bytes, *, max_lines: int = 40) -> str:
    """A payload for people: indented, cut after so many lines."""
    try:
        text = json.dumps(json.loads(raw), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = raw.decode(errors="replace")
    lines = text.splitlines()
    if len(lines) > max_lines:
        lines = [*lines[:max_lines], f"… {len(lines) - max_lines} more lines; --output json shows all"]
    return "\n".join(line if len(line) <= 500 else line[:500] + " …" for line in lines)
