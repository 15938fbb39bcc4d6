"""What the demo prints."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_console = Console(highlight=False, emoji=False)


def title(source: str, files: int) -> None:
    """The first lines."""
    _console.print(Text.assemble(("stepgres demo", "bold"), f"  reads {files:,} Python files of {source}"))
    _console.print(Text("PostgreSQL, one coordinator, two workers; the run waits for them", "dim"))
    _console.print()


def note(text: str) -> None:
    """A quiet line."""
    _console.print(Text(text, "dim"))


def failed(text: str) -> None:
    """What the demo did not show."""
    _console.print(Text.assemble(("demo failed: ", "bold red"), text))


def passed(took_s: float) -> None:
    """The last line."""
    _console.print(Text.assemble(("demo passed", "bold green"), f" in {took_s:.0f} s"))


def busy(text: str) -> AbstractContextManager[object]:
    """A spinner while something works."""
    return _console.status(text)


def report(result: dict[str, Any]) -> None:
    """The report."""
    totals = result["totals"]
    words = (f"{totals[name]:,} {name}" for name in ("files", "lines", "functions", "classes"))
    _console.print()
    _console.print(Text(", ".join(words) + f"; {totals['unparsed']} files cannot be parsed"))
    tables = [
        _table("largest files", "lines", [(row["path"], row["lines"]) for row in result["largest_files"]]),
        _table("most imported", "files", [(row["module"], row["files"]) for row in result["most_imported"]]),
    ]
    _console.print(Padding(Columns(tables, padding=(0, 6)), (1, 0)))


def _table(name: str, unit: str, rows: list[tuple[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(name)
    table.add_column(unit, justify="right")
    for label, count in rows:
        table.add_row(Text(label), f"{count:,}")
    return table


def report_times(times: dict[str, Any]) -> None:
    """How long the report took and where the time went."""
    rate = times["tasks"] / times["took_s"]
    _console.print(Text.assemble("run ", (times["run_id"], "bold")))
    _facts(
        ("report", f"{times['tasks']:,} tasks in {times['took_s']:.2f} s: {rate:,.0f} tasks/s"),
        ("  handlers", f"{times['handlers_s']:.2f} s ({times['parsing_s']:.2f} s of parsing, on two workers)"),
        ("  engine", f"{times['engine_s']:.2f} s"),
    )


def same(took_s: float) -> None:
    """The comparison held."""
    _facts(("  check", f"equal to the same computed in one plain process in {took_s:.2f} s"))


def diamonds(runs: int, tasks: int, took_s: float) -> None:
    """The rate of the engine alone."""
    _facts(
        ("no-ops", f"{tasks:,} tasks of {runs:,} runs in {took_s:.2f} s: {tasks / took_s:,.0f} tasks/s"),
        ("  engine", f"{took_s:.2f} s, all of it: these handlers do nothing"),
    )


def _facts(*rows: tuple[str, str]) -> None:
    for name, value in rows:
        _console.print(Text.assemble((f"{name:<12}", "dim" if name.startswith(" ") else "bold"), value))
