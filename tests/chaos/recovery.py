"""How long the system takes to go on after a kill: what was under way is read at the kill, what became of it later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.flows import SCOPE
from tests.chaos.journal import read_journal

#: Longest that is waited for a recovery before it counts as that long.
_LIMIT_S = 90.0
#: For how many seconds before a kill nothing else may have happened for its time to be the kill's own; from then on,
#: until it is over. (Whoever takes over from both must have had a whole lease, 15 s, of contact with the database.)
_QUIET_S = {"worker": 0.0, "coordinator": 0.0, "both": 15.0, "postgres": 0.0}
#: Faults after which a worker takes tasks and does not begin them for a while, a lease at most.
_ABSENCES = ("stop_worker", "half_open", "cut")
_LEASE_S = 15.0
#: When results that a worker had sent before its end have arrived.
_ARRIVED_S = 0.2

_LEASED = """
    select t.run_id::text, w.step_slug, t.task_index, t.failures + 1
    from pgflow.step_tasks as t
    join pgflow.sessions as s on s.session_id = t.session_id
    join pgflow.workers as n on n.worker_id = s.worker_id
    join pgflow.runs as r on r.run_id = t.run_id
    join pgflow.workflow_steps as w on w.version_id = r.version_id and w.step_index = t.step_index
    where t.status = 'started' and t.lost_leases = 0 and n.worker_name = any(%s)
"""
_LOST = """
    select e.run_id::text, w.step_slug, e.task_index, extract(epoch from e.failed_at)::float8
    from pgflow.task_errors as e
    join pgflow.runs as r on r.run_id = e.run_id
    join pgflow.workflow_steps as w on w.version_id = r.version_id and w.step_index = e.step_index
    where e.code = 'LEASE_LOST'
"""
_HELD = """
    select coalesce(array_agg(n.worker_name), '{}')
    from pgflow.sessions as s join pgflow.workers as n on n.worker_id = s.worker_id
    where s.coordinator_id::text = any(%s) and s.closed_at is null
"""
_COORDINATOR = """
    select s.coordinator_id::text from pgflow.sessions as s join pgflow.workers as n on n.worker_id = s.worker_id
    where n.worker_name = %s and s.closed_at is null
"""

#: Run, step, index, attempt.
Task = tuple[str, str, int, int]


@dataclass
class _Kill:
    kind: str
    at: float
    #: Lives of workers that ended.
    workers: list[str]
    #: What they had; None: it could not be read.
    leased: Future[set[Task] | None] | None = None
    #: When it was over, where that is known by looking.
    over_at: Future[float | None] | None = None


class Recovery:
    """Takes the times.

    Args:
        dsn: of the database.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="recovery")
        self._kills: list[_Kill] = []
        self._disturbances: list[tuple[float, float]] = []
        self._ended = False
        #: Names of workers that cannot resume a session: they are killed, stopped or cut off. By part of their names.
        self.absent: set[str] = set()

    def coordinator_of(self, worker: str) -> str:
        """Id of the coordinator that has a worker's common session; empty when that cannot be told."""
        return str(self._ask(_COORDINATOR, [worker], "")[0])

    def killed(self, kind: str, at: float, workers: list[str], coordinators: list[str]) -> None:
        """Processes were killed: lives of workers, ids of coordinators."""
        self.absent.update(workers)
        names = [name for life in workers for name in (life, f"{life}/{SCOPE}")]
        kill = _Kill(kind, at, names)
        if workers:
            kill.leased = self._threads.submit(self._leased, names)
        if kind == "coordinator":
            kill.over_at = self._threads.submit(self._resumed, coordinators)
        self._kills.append(kill)

    def postgres_killed(self, at: float) -> None:
        """The database server was killed; it is started again."""
        self._kills.append(_Kill("postgres", at, [], over_at=self._threads.submit(self._answering)))

    def disturbed(self, begin: float, end: float) -> None:
        """Something happened from one time to another that slows others down: a coordinator or the database was away."""
        self._disturbances.append((begin, end))

    def times(self, journal: Path) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Ends the watching; the longest recoveries in seconds by kind, None without one: those alone, and the others."""
        self._ended = True
        executions: dict[Task, list[tuple[float, str]]] = {}
        absences: dict[str, list[tuple[float, float]]] = {}
        for entry in read_journal(journal):
            if entry["kind"] == "execution":
                task = (entry["run"], entry["step"], entry["index"], entry["attempt"])
                executions.setdefault(task, []).append((entry["at"], entry["worker"]))
            elif entry["kind"] == "fault" and entry["what"] in _ABSENCES:
                for name in entry["names"]:
                    absences.setdefault(name, []).append((entry["at"], entry["at"] + entry.get("stop_s", _LEASE_S)))
        lost: dict[tuple[str, str, int], list[float]] = {}
        with self._connect() as conn:
            for run, step, index, at in conn.execute(_LOST):
                lost.setdefault((run, step, index), []).append(at)
        began = sorted(at for again in executions.values() for at, _ in again)
        alone: dict[str, float | None] = dict.fromkeys(_QUIET_S)
        among: dict[str, float | None] = dict.fromkeys(_QUIET_S)
        for kill in self._kills:
            for task, at, worker in self._ends(kill, executions, began):
                kept = among
                if self._was_alone(kill, at - kill.at) and not (
                    # It went to a worker that vanished before it began, or that was away for a while.
                    sum(kill.at < when < at for when in lost.get(task[:3], ())) > 1
                    or any(a < at and b > kill.at for a, b in absences.get(worker.partition(".")[0], ()))
                ):
                    kept = alone
                kept[kill.kind] = round(max(kept[kill.kind] or 0.0, at - kill.at), 2)
        return alone, among

    @staticmethod
    def _ends(
        kill: _Kill, executions: dict[Task, list[tuple[float, str]]], began: list[float]
    ) -> Iterator[tuple[Task, float, str]]:
        """When a kill was over; one of workers is so for each task that they had when another worker begins it."""
        if kill.over_at is not None:
            over_at = kill.over_at.result()
            if kill.kind == "postgres" and over_at is not None:
                over_at = min((at for at in began if at >= over_at), default=None)
            if over_at is not None:
                yield ("", "", 0, 0), over_at, ""
            return
        assert kill.leased is not None
        for task in kill.leased.result() or ():
            again = [(at, who) for at, who in executions.get(task, ()) if at > kill.at and who not in kill.workers]
            # Those that do not run again ended with their run.
            if again:
                yield task, *min(again)

    def _was_alone(self, kill: _Kill, taken_s: float) -> bool:
        begin, end = kill.at - _QUIET_S[kill.kind], kill.at + taken_s
        # Its own disturbance begins with it.
        return not any(a < end and b > begin for a, b in self._disturbances if a != kill.at)

    def _leased(self, workers: list[str]) -> set[Task] | None:
        time.sleep(_ARRIVED_S)
        with suppress(psycopg.Error), self._connect() as conn:
            return set(conn.execute(_LEASED, [workers]))
        return None

    def _resumed(self, coordinators: list[str]) -> float | None:
        """When no healthy worker had its session with coordinators that are gone any more."""
        return self._when(_HELD, [coordinators], lambda row: not any(map(self._is_present, row[0])))

    def _is_present(self, worker: str) -> bool:
        life = worker.removesuffix(f"/{SCOPE}")
        return life not in self.absent and life.partition(".")[0] not in self.absent

    def _answering(self) -> float | None:
        return self._when("select 1", [], lambda _: True)

    def _when(self, statement: str, values: list[Any], is_over: Callable[[tuple[Any, ...]], bool]) -> float | None:
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline and not self._ended:
            with suppress(psycopg.Error), self._connect() as conn:
                while time.monotonic() < deadline and not self._ended:
                    row = conn.execute(statement, values).fetchone()
                    if row is not None and is_over(row):
                        return time.time()
                    time.sleep(0.05)
            time.sleep(0.05)
        return None if self._ended else time.time()

    def _ask(self, statement: str, values: list[Any], otherwise: Any) -> tuple[Any, ...]:
        with suppress(psycopg.Error), self._connect() as conn:
            return conn.execute(statement, values).fetchone() or (otherwise,)
        return (otherwise,)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._dsn, autocommit=True, connect_timeout=2)
