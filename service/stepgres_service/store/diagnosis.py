"""What may be wrong with a database that stepgres works on, each finding with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from stepgres_service.errors import SetupError
from stepgres_service.store.migrate import Migrator
from stepgres_service.store.migrate import load_queries as load_migrate_queries
from stepgres_service.store.pgmq import check_pgmq
from stepgres_service.store.queries import load_queries

_SQL = load_queries("diagnosis")
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    #: What was looked at, for people.
    check: str
    #: None: all is well.
    problem: str | None = None
    #: What to do; empty when all is well.
    remedy: str = ""


def diagnose(dsn: str) -> list[Finding]:
    """Looks a database over; changes nothing. Blocking.

    Args:
        dsn: direct address of the database.

    Returns:
        A finding for each check. When the schema is not this program's, the checks that need it are left out.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    try:
        Migrator(dsn).check()
    except SetupError as error:
        return [_refusal("schema", error)]
    findings = [Finding("schema")]
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=_TIMEOUT_S, application_name="stepgres doctor", row_factory=dict_row
    ) as conn:
        conn.execute("set statement_timeout = '10s'")
        for name, look in _CHECKS:
            problems = [Finding(name, problem, remedy) for problem, remedy in look(conn)]
            findings += problems or [Finding(name)]
    return findings


def _refusal(check: str, error: SetupError) -> Finding:
    """What a start would be refused with: the problem, then `; ` or a full stop, then the remedy."""
    text = str(error)
    for mark in ("; ", ". "):
        problem, found, remedy = text.partition(mark)
        if found:
            return Finding(check, problem, remedy)
    return Finding(check, text, "see docs/cli.md, stepgres migrate")


_Look = Callable[["psycopg.Connection[dict[str, Any]]"], Iterator[tuple[str, str]]]


def _pgmq(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    try:
        check_pgmq(conn, load_migrate_queries())
    except SetupError as error:
        finding = _refusal("", error)
        yield finding.problem or "", finding.remedy


def _settings(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    found = conn.execute(_SQL["server_settings"]).fetchone()
    assert found is not None
    if not found["has_autovacuum"]:
        yield "autovacuum is off: queues and runs bloat until everything is slow", "set autovacuum = on"
    if not found["has_fsync"]:
        yield "fsync is off: a crash of the machine loses acknowledged results", "set fsync = on"
    if not found["has_synchronous_commit"]:
        yield (
            "synchronous_commit is off: a crash loses results that were acknowledged shortly before",
            "set synchronous_commit = on for this database",
        )
    if found["isolation"] != "read committed":
        yield (
            f"the default isolation is {found['isolation']}, in which coordinators refuse to start",
            "alter role … set default_transaction_isolation = 'read committed'",
        )


def _sessions(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    found = conn.execute(_SQL["overdue_sessions"]).fetchone()
    assert found is not None
    if found["session_count"]:
        yield (
            f"{found['session_count']} sessions with {found['task_count']} tasks ran out more than a minute ago and "
            "nobody swept them",
            "start a coordinator (stepgres serve), or look at the log of the one that runs",
        )


def _vacuum(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in conn.execute(_SQL["vacuum"]).fetchall():
        when = f"last on {row['vacuumed_at']:%Y-%m-%d %H:%M}" if row["vacuumed_at"] else "never yet"
        yield (
            f"{row['table_name']} has {row['dead_rows']} dead rows beside {row['live_rows']} living ones; it was vacuumed "
            f"{when}",
            f"run: vacuum (analyze) {row['table_name']}; and see that autovacuum has workers to spare",
        )


def _snapshot(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    found = conn.execute(_SQL["oldest_snapshot"]).fetchone()
    if found is not None:
        who = found["application_name"] or "without a name"
        yield (
            f"backend {found['pid']} ({who}, {found['state']}) has had a transaction open for {found['age_s'] // 60} minutes: "
            "vacuum can remove nothing that died since",
            f"end it, if need be with: select pg_terminate_backend({found['pid']})",
        )


def _connections(conn: psycopg.Connection[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    found = conn.execute(_SQL["connections"]).fetchone()
    assert found is not None
    if found["used"] > 0.9 * found["allowed"]:
        yield (
            f"{found['used']} of {found['allowed']} connections are in use",
            "raise max_connections, or put PgBouncer in front (STEPGRES_LISTEN_DATABASE_URL then takes the direct address)",
        )


_CHECKS: tuple[tuple[str, _Look], ...] = (
    ("pgmq", _pgmq),
    ("server settings", _settings),
    ("expired sessions", _sessions),
    ("vacuum", _vacuum),
    ("old transactions", _snapshot),
    ("connections", _connections),
)
