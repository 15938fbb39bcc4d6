from __future__ import annotations

import dataclasses
import datetime
import io

import pytest
from rich.console import Console

from stepgres_cli.output import elapsed, pretty_payload, seconds
from stepgres_cli.watching import LineView, LiveView, headline, steps_table, watch
from stepgres_worker import RunSnapshot, RunStatus, StepSnapshot, StepStatus, TaskCounts

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def step(slug: str, status: str, completed: int = 0, total: int | None = None, failed: int = 0) -> StepSnapshot:
    return StepSnapshot(
        step=slug,
        step_index=0,
        step_type="single" if total is None else "map",
        status=StepStatus(status),
        counts=TaskCounts(total=total, open=0, completed=completed, failed=failed, cancelled=0),
        remaining_deps=0,
        depends_on=(),
        start_time=None,
        end_time=None,
        revision=1,
        unserved=False,
    )


def run(*steps: StepSnapshot, status: str = "started") -> RunSnapshot:
    return RunSnapshot(
        run_id="id",
        flow="f",
        version=1,
        status=RunStatus(status),
        scope="",
        idempotency_key="",
        revision=1,
        step_count=len(steps),
        remaining_steps=0,
        steps={item.step: item for item in steps},
        error=None,
        start_time=START,
        end_time=START + datetime.timedelta(seconds=2) if status != "started" else None,
    )


def test_lines_tell_changes_of_status_at_once_and_counts_at_most_once_a_second():
    lines: list[str] = []
    now = [0.0]
    view = LineView(lines.append, lambda: now[0])
    view.show(run(step("a", "started", 0, 10), step("b", "created")))
    for second, completed in ((0.0, 1), (0.3, 4), (0.9, 5), (1.2, 6), (1.3, 7)):
        now[0] = second
        view.show(run(step("a", "started", completed, 10), step("b", "created")))
    view.show(run(step("a", "completed", 10, 10), step("b", "started")))
    assert lines == [
        "a  started  0/10",
        "b  created",
        "a  started  1/10",
        "a  started  6/10",
        "a  completed  10/10",
        "b  started",
    ]


def draw(renderable: object) -> str:
    screen = Console(file=io.StringIO(), width=120)
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_bars_show_mark_word_and_counts_so_that_colour_is_never_needed():
    text = draw(steps_table(run(step("a", "failed", 3, 1200, failed=2), step("b", "cancelled"))))
    assert "✗  a  failed" in text
    assert "3/1,200, 2 failed" in text
    assert "∅  b  cancelled" in text


def test_an_unserved_step_says_so():
    text = draw(steps_table(run(dataclasses.replace(step("a", "started"), unserved=True))))
    assert "started, nobody serves it" in text


def test_a_terminal_shows_the_last_state_after_the_watch():
    screen = Console(file=io.StringIO(), width=120, force_terminal=True)
    last = watch(
        [run(step("a", "started", 1, 4)), run(step("a", "completed", 4, 4), status="completed")], LiveView(screen)
    )
    assert last.status is RunStatus.COMPLETED
    assert isinstance(screen.file, io.StringIO)
    assert "4/4" in screen.file.getvalue()
    assert draw(headline(last)) == "run id of f v1: completed in 2.00 s\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 s"), (9.994, "9.99 s"), (12.34, "12.3 s"), (187, "3:07 min"), (7509, "2:05:09 h"), (None, "")],
)
def test_durations_read_well(value, text):
    assert seconds(value) == text


def test_a_clock_that_is_behind_the_database_s_never_shows_less_than_nothing():
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5)
    assert elapsed(ahead, None) == 0
    assert elapsed(None, None) is None


def test_long_payloads_are_cut_for_people():
    text = pretty_payload(b"[" + b"1," * 99 + b"1]", max_lines=5)
    assert text.splitlines()[-1] == "… 97 more lines; --output json shows all"
