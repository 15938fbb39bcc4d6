"""A run while it moves: bars in a terminal, plain lines elsewhere. Both are fed with snapshots and draw nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, Self

from stepgres_cli.output import STATUS_STYLES, console, elapsed, seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from stepgres_worker import RunSnapshot, StepSnapshot

_BAR_WIDTH = 28
_MARKS = {
    "created": "·", "started": "▸", "completed": "✓", "failed": "✗", "cancelled": "∅", "skipped": "-",
}  # fmt: skip


class View(Protocol):
    """Something that shows a run; a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Leave the last state on the screen."""

    def show(self, run: RunSnapshot) -> None:
        """Show this state."""

    def note(self, text: str) -> None:
        """Show a remark beside it; from any thread."""


def make_view() -> View:
    """Bars when standard output is a terminal, lines when it is not."""
    screen = console()
    return LiveView(screen) if screen.is_terminal else LineView()


class LiveView:
    """Redraws a table of steps in place, also between snapshots, so that the clocks run.

    Args:
        screen: where to draw.
    """

    def __init__(self, screen: Console) -> None:
        from rich.live import Live

        self._run: RunSnapshot | None = None
        self._live: Live = Live(console=screen, refresh_per_second=8, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, run: RunSnapshot) -> None:
        """Remember the state; the next redraw, at most an eighth of a second later, shows it."""
        self._run = run

    def note(self, text: str) -> None:
        """Print it above the table."""
        self._live.console.print(text, style="yellow")

    def _draw(self) -> RenderableType:
        from rich.text import Text

        return steps_table(self._run) if self._run is not None else Text("waiting …", style="dim")


class LineView:
    """Prints a line for each change of a status, and for counts at most one a second.

    Args:
        write: takes a line; None prints it.
        clock: seconds that only grow.
    """

    def __init__(self, write: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write or (lambda line: print(line, flush=True))
        self._clock = clock
        self._seen: dict[str, tuple[str, int]] = {}
        self._counted_at = -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def show(self, run: RunSnapshot) -> None:
        """Print what is new in this state."""
        count_now = self._clock() - self._counted_at >= 1.0
        for step in run.steps.values():
            status, completed = self._seen.get(step.step, ("", 0))
            moved = step.status.value != status
            counted = step.step_type == "map" and step.counts.completed != completed
            if not moved and not (counted and count_now):
                continue
            if counted and not moved:
                self._counted_at = self._clock()
            self._seen[step.step] = (step.status.value, step.counts.completed)
            self._write("  ".join(part for part in (step.step, step.status.value, tasks_of(step), _took(step)) if part))

    def note(self, text: str) -> None:
        """Print it as a line."""
        self._write(text)


def steps_table(run: RunSnapshot) -> Table:
    """The steps of a run: mark, name, status, bar, counts, time."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for column in range(6):
        table.add_column(no_wrap=True, justify="right" if column >= 4 else "left")
    for step in run.steps.values():
        status = step.status.value
        style = STATUS_STYLES[status]
        bar: RenderableType = Text("")
        if step.step_type == "map" and step.counts.total:
            bar = ProgressBar(
                total=step.counts.total, completed=step.counts.completed, width=_BAR_WIDTH,
                complete_style=style, finished_style=style,
            )  # fmt: skip
        table.add_row(
            Text(_MARKS[status], style=style), Text(step.step), Text(_word(step), style=style), bar,
            Text(tasks_of(step)), Text(_took(step), style="dim"),
        )  # fmt: skip
    return table


def _word(step: StepSnapshot) -> str:
    return f"{step.status.value}, nobody serves it" if step.unserved else step.status.value


def tasks_of(step: StepSnapshot) -> str:
    """The counts of a map, `120/1,702` and what failed; empty for a single step."""
    counts = step.counts
    if step.step_type != "map" or counts.total is None:
        return ""
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    return f"{counts.completed:,}/{counts.total:,}{failed}"


def _took(step: StepSnapshot) -> str:
    return seconds(elapsed(step.start_time, step.end_time))


def headline(run: RunSnapshot) -> Text:
    """`run <id> of <flow> v1: completed in 2.31 s`."""
    from rich.text import Text

    text = Text.assemble(
        "run ", (run.run_id, "bold"), f" of {run.flow} v{run.version}: ",
        (run.status.value, STATUS_STYLES[run.status.value]),
    )  # fmt: skip
    if run.end_time is not None:
        text.append(f" in {seconds(elapsed(run.start_time, run.end_time))}")
    return text


def watch(
    snapshots: Iterable[RunSnapshot], view: View, each: Callable[[RunSnapshot], None] | None = None
) -> RunSnapshot:
    """Show every snapshot and return the last one.

    Args:
        snapshots: as the client's watch yields them; at least one.
        view: where to show them.
        each: called with every snapshot, before it is shown.
    """
    last: RunSnapshot | None = None
    with view:
        for last in snapshots:
            if each is not None:
                each(last)
            view.show(last)
    if last is None:  # the protocol promises a snapshot and an end
        sys.exit("the watch ended without a frame")
    return last
