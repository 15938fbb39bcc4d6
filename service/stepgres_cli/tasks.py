"""Tasks for people: which wait for a retry and why, what each attempt came to."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stepgres_cli.output import elapsed, print_facts, print_table, seconds, short_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepgres_worker import Client, TaskSnapshot

#: Waiting retries that are told one by one.
_SHOWN = 3
#: Queued tasks that are looked through for them.
_LOOKED_AT = 200
_MESSAGE_CHARACTERS = 200


def name_of(task: TaskSnapshot) -> str:
    """`resize[3]`."""
    return f"{task.step}[{task.task_index}]"


def waiting_retries(client: Client, run_id: str) -> Iterator[tuple[str, str]]:
    """The first tasks of a run that failed and wait for their next attempt, each (task and attempt, line for people)."""
    queued = client.list_tasks(run_id, status="queued", page_size=_LOOKED_AT)
    waiting = [task for task in queued if task.attempt > 1]
    for task in waiting[:_SHOWN]:
        attempts = client.get_task(run_id, task.step, task.task_index).attempts
        failed = next((attempt for attempt in reversed(attempts) if attempt.code), None)
        why = f" ({failed.code}: {_short(failed.message)})" if failed is not None else ""
        yield (
            f"{name_of(task)} {task.attempt}",
            f"{name_of(task)} failed in attempt {task.attempt - 1}{why}; {_next_try(task)}",
        )
    if len(waiting) > _SHOWN:
        yield f"{len(waiting)} more", f"{len(waiting) - _SHOWN} more tasks wait for a retry"


def _next_try(task: TaskSnapshot) -> str:
    if task.available_time is None:
        return "it is queued again"
    wait_s = (task.available_time - datetime.datetime.now(datetime.UTC)).total_seconds()
    return f"next try in {seconds(max(0.0, wait_s))}"


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + " …"


def print_tasks(tasks: Sequence[TaskSnapshot]) -> None:
    """A table of tasks."""
    print_table(
        ("task", "status", "attempt", "worker", "started", "took", "progress"),
        (
            (
                name_of(task),
                task.status.value,
                task.attempt,
                task.worker,
                short_time(task.start_time),
                seconds(elapsed(task.start_time, task.end_time)) if task.status.value != "queued" else "",
                _progress(task),
            )
            for task in tasks
        ),
        empty="no such tasks; a step gets its tasks when its dependencies are done.",
    )


def _progress(task: TaskSnapshot) -> str:
    # The last report is seldom 100 %: beside a task that has completed it would look unfinished.
    if task.status.value == "completed" or not (task.progress or task.progress_message):
        return ""
    return f"{task.progress or 0.0:.0%} {task.progress_message}".strip()


def print_task(task: TaskSnapshot) -> None:
    """One task with its payloads and attempts."""
    from stepgres_cli.output import pretty_payload

    print_facts((
        ("task", name_of(task)),
        ("status", task.status.value),
        ("lost leases", task.lost_leases or None),
        ("next try", _next_try(task) if task.status.value == "queued" and task.available_time else None),
        ("input", pretty_payload(task.input_json, max_lines=10) if task.input_json is not None else None),
        ("output", pretty_payload(task.output_json) if task.output_json is not None else None),
    ))  # fmt: skip
    print_table(
        ("attempt", "result", "worker", "started", "took", "message"),
        (
            (a.attempt, a.code or "completed", a.worker, short_time(a.start_time),
             seconds(elapsed(a.start_time, a.end_time)), a.message)
            for a in task.attempts
        ),
        empty="no attempt has ended yet.",
    )  # fmt: skip
    last = task.attempts[-1] if task.attempts else None
    if last is not None and last.details:
        print(last.details.rstrip())
