"""Judges a settled system by its database and its journal alone; knows nothing of the processes that made them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.flows import executions_in
from tests.chaos.journal import Entry, read_journal

Connection = psycopg.Connection[tuple[Any, ...]]
#: A kind of violation and what is wrong in words.
Violation = tuple[str, str]


@dataclass
class Findings:
    """What a system looks like."""

    #: Runs and tasks in the database, and tasks that ended there.
    runs: int = 0
    tasks: int = 0
    #: Tasks whose handler began more often than failures explain: allowed after a fault, never needed without one.
    executed_twice: int = 0
    #: What must never be, in words, by kind.
    violations: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def count(self, kind: str) -> int:
        """Number of violations of a kind."""
        return len(self.violations[kind])

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.violations.values())


#: Kinds of violations, each with the statement that finds them: rows are words about one violation each.
_STATEMENTS = {
    "stuck": "select format('run %s is still %s', run_id, status) from pgflow.runs where status = 'started'",
    "lost": """
        select format('run %s is completed, and %s of its %s steps are', r.run_id, count(s.run_id), r.step_count)
        from pgflow.runs as r
        left join pgflow.step_states as s
            on s.run_id = r.run_id and s.status = 'completed' and s.remaining_tasks = 0
               and s.initial_tasks = (
                   select count(*) from pgflow.step_tasks as t
                   where t.run_id = s.run_id and t.step_index = s.step_index and t.status = 'completed'
               )
        where r.status = 'completed'
        group by r.run_id having count(s.run_id) <> r.step_count or r.remaining_steps <> 0
    """,
    "recorded_twice": """
        select format('task %s of step %s of run %s was recorded %s times', task_index, step_index, run_id, count(*))
        from chaos.recordings group by run_id, step_index, task_index having count(*) > 1
    """,
    "replaced": """
        select format('the output %s of run %s, step %s, task %s became %s', was, run_id, step_index, task_index, became)
        from chaos.replacements
    """,
    "live_tasks": """
        select format('run %s is %s, and its task %s of step %s %s', r.run_id, r.status, t.task_index, t.step_index, t.status)
        from pgflow.runs as r join pgflow.step_tasks as t on t.run_id = r.run_id
        where r.status <> 'started' and t.status in ('queued', 'started')
    """,
    "attempts": """
        select format('task %s of step %s of run %s failed %s times, of which %s are allowed, and lost %s leases',
                      t.task_index, t.step_index, t.run_id, t.failures, coalesce(s.max_attempts, v.max_attempts),
                      t.lost_leases)
        from pgflow.step_tasks as t
        join pgflow.runs as r on r.run_id = t.run_id
        join pgflow.workflow_versions as v on v.version_id = r.version_id
        join pgflow.workflow_steps as s on s.version_id = r.version_id and s.step_index = t.step_index
        -- A task survives 5 lost leases by default.
        where t.failures > coalesce(s.max_attempts, v.max_attempts) or t.lost_leases > 6
    """,
}
KINDS = (*_STATEMENTS, "orphan_messages", "unexecuted")

_ORPHANS = """
    select format('message %%s of queue %%s is of no task that waits: %%s', m.msg_id, %(queue)s::text, m.message)
    from pgmq.{table} as m
    left join pgflow.step_tasks as t
        on t.run_id = (m.message ->> 'r')::uuid and t.step_index = (m.message ->> 's')::int
           and t.task_index = (m.message ->> 'i')::int
    where (t.status = 'queued' and t.message_id = m.msg_id) is not true
"""

_RECORDED = """
    select t.run_id::text, w.step_slug, t.task_index, t.lease_seq,
           case when t.item is null then s.output else t.output end
    from pgflow.step_tasks as t
    join pgflow.step_states as s on s.run_id = t.run_id and s.step_index = t.step_index
    join pgflow.runs as r on r.run_id = t.run_id
    join pgflow.workflow_steps as w on w.version_id = r.version_id and w.step_index = t.step_index
    where t.status = 'completed'
"""


def check(dsn: str, journal: Path) -> Findings:
    """Reads everything and judges it.

    Args:
        dsn: of the database, in which nothing is under way.
        journal: file of what handlers and clients wrote down.
    """
    findings = Findings()
    entries = _Entries(journal)
    with psycopg.connect(dsn, autocommit=True) as conn:
        findings.runs, findings.tasks = _row(
            conn,
            "select (select count(*) from pgflow.runs),"
            " (select count(*) from pgflow.step_tasks where status in ('completed', 'failed'))",
        )
        looks: list[Callable[[], Iterator[Violation]]] = [
            lambda: _by_statements(conn),
            lambda: _orphan_messages(conn),
            lambda: _lost_runs(conn, entries),
            lambda: _results(conn, entries),
            lambda: _attempts(conn, entries),
        ]
        for look in looks:
            for kind, words in look():
                findings.violations[kind].append(words)
        findings.executed_twice = _executed_twice(conn, entries)
    return findings


class _Entries:
    """The journal, by kind."""

    def __init__(self, path: Path) -> None:
        self.accepted: set[str] = set()
        self.executions: dict[tuple[str, str, int], list[Entry]] = defaultdict(list)
        #: How often a client asked for a run to be retried.
        self.retries: dict[str, int] = defaultdict(int)
        #: Executions whose results somebody has seen, by run.
        self.seen: dict[str, set[str]] = defaultdict(set)
        for entry in read_journal(path):
            kind, run = entry["kind"], entry.get("run", "")
            if kind == "accepted":
                self.accepted.add(run)
            elif kind == "execution":
                self.executions[run, entry["step"], entry["index"]].append(entry)
            elif kind == "retried":
                self.retries[run] += 1
            self.seen[run].update(entry.get("saw", ()))


def _row(conn: Connection, statement: str) -> tuple[Any, ...]:
    row = conn.execute(statement).fetchone()
    assert row is not None
    return row


def _by_statements(conn: Connection) -> Iterator[Violation]:
    for kind, statement in _STATEMENTS.items():
        for (words,) in conn.execute(statement):
            yield kind, words


def _orphan_messages(conn: Connection) -> Iterator[Violation]:
    queues = conn.execute("select queue_name from pgmq.list_queues()").fetchall()
    for (queue,) in queues:
        for (words,) in conn.execute(_ORPHANS.format(table=f"q_{queue}"), {"queue": queue}):
            yield "orphan_messages", words


def _stored_runs(conn: Connection) -> set[str]:
    return {run for (run,) in conn.execute("select run_id::text from pgflow.runs")}


def _lost_runs(conn: Connection, entries: _Entries) -> Iterator[Violation]:
    for run in sorted(entries.accepted - _stored_runs(conn)):
        yield "lost", f"run {run} was accepted and is not there"


def _results(conn: Connection, entries: _Entries) -> Iterator[Violation]:
    """What was recorded comes from an execution of that very task, and is what everybody has seen."""
    recorded: dict[str, set[str]] = defaultdict(set)
    for run, step, index, _, output in conn.execute(_RECORDED):
        names = executions_in(output)
        recorded[run] |= names
        executions = entries.executions.get((run, step, index), ())
        if not executions or not names <= {entry["by"] for entry in executions}:
            yield (
                "unexecuted",
                f"task {index} of step {step} of run {run} has a result that none of its executions made",
            )
    # A run that is not there at all is lost, which is told already.
    for run in entries.seen.keys() & _stored_runs(conn):
        for name in sorted(entries.seen[run] - recorded[run]):
            yield "replaced", f"somebody saw the result of execution {name} in run {run}, and it is not stored"


def _attempts(conn: Connection, entries: _Entries) -> Iterator[Violation]:
    """No handler was told of an attempt beyond the last one."""
    statement = """
        select distinct r.run_id::text, s.step_slug, coalesce(s.max_attempts, v.max_attempts)
        from pgflow.runs as r
        join pgflow.workflow_versions as v on v.version_id = r.version_id
        join pgflow.workflow_steps as s on s.version_id = r.version_id
    """
    allowed = {(run, step): attempts for run, step, attempts in conn.execute(statement)}
    for (run, step, index), executions in entries.executions.items():
        most = max(entry["attempt"] for entry in executions)
        if most > allowed.get((run, step), most):
            yield "attempts", f"task {index} of step {step} of run {run} had attempt {most} of {allowed[run, step]}"


def _executed_twice(conn: Connection, entries: _Entries) -> int:
    failures: dict[tuple[str, str, int], int] = defaultdict(int)
    statement = """
        select e.run_id::text, w.step_slug, e.task_index, count(*)
        from pgflow.task_errors as e
        join pgflow.runs as r on r.run_id = e.run_id
        join pgflow.workflow_steps as w on w.version_id = r.version_id and w.step_index = e.step_index
        where e.code <> 'LEASE_LOST' group by 1, 2, 3
    """
    for run, step, index, count in conn.execute(statement):
        failures[run, step, index] = count
    return sum(
        len(executions) > failures[task] + 1 + entries.retries[task[0]]
        for task, executions in entries.executions.items()
    )
