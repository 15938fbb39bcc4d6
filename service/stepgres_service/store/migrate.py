"""`stepgres migrate`: bring a database to the schema of this program, say what is missing, or print the script.

Everything happens under one advisory lock. Order: pgmq, structure files (a transaction each), then all changed
function files in one transaction, so that callers see the old set or the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from stepgres_service import __version__
from stepgres_service.store import migrate_script
from stepgres_service.store.migrate_errors import (
    ForeignSchema,
    MigrateBusy,
    MigrationFailed,
    SchemaAhead,
    SchemaBehind,
    SchemaDrift,
    UnfitServer,
)
from stepgres_service.store.migrate_files import Kind, MigrationFile, load_files
from stepgres_service.store.pgmq import ensure_pgmq

#: The oldest server that the SQL is written for, as server_version_num.
MIN_SERVER = 150000


class State(StrEnum):
    """Where a migration stands in one database."""

    #: As in the folder.
    APPLIED = "applied"
    #: Never applied.
    PENDING = "pending"
    #: Applied with another text: a function to apply again, or a structure file that was edited (drift).
    CHANGED = "changed"
    #: Applied, but not in the folder.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Applied:
    """One thing that `up` did, or, in a plan, would do."""

    #: File name, or `pgmq`.
    name: str
    #: What it is.
    kind: Kind
    #: `created`, or `replaced` for a function that was there with another text.
    action: str


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One line of `migrate status`."""

    #: File name, or `pgmq`.
    name: str
    #: What it is.
    kind: Kind
    #: Where it stands.
    state: State
    #: When it was applied last; None when it never was.
    applied_at: datetime | None
    #: The stepgres that applied it (pgmq: its own version); empty when it never was applied.
    version: str


@dataclass(frozen=True, slots=True)
class _Recorded:
    name: str
    kind: Kind
    checksum: str
    version: str
    applied_at: datetime


class Migrator:
    """Migrates one database. Blocking: use asyncio.to_thread in async code.

    Args:
        dsn: direct address of the database, not through a pooler: the advisory lock belongs to the session.
        folder: migrations to use; None = the checkout's, else the wheel's.
        version: version of this program, recorded with each file.
    """

    def __init__(self, dsn: str, *, folder: Path | None = None, version: str = __version__) -> None:
        self._dsn = dsn
        self._files = load_files(folder)
        self._version = version
        self._queries = load_queries()

    def up(self) -> list[Applied]:
        """Apply what is missing; does nothing to a database that is up to date.

        Returns:
            What was done, in order.

        Raises:
            SchemaDrift, SchemaAhead, ForeignSchema, UnfitServer: nothing was changed.
            MigrationFailed: that file was not applied; the ones before it were.
            MigrateBusy: another migrate held the lock for a minute.
        """
        with self._connect() as conn, self._locked(conn):
            plan = self._plan(conn)
            if not plan:
                return []
            conn.execute(self._queries["bookkeeping"])
            todo = {step.name for step in plan}
            if Kind.PGMQ in todo:
                with conn.transaction():
                    source = ensure_pgmq(conn, self._queries)
                    self._record(conn, "pgmq", Kind.PGMQ, source.checksum, source.version)
            for file in self._files:
                if file.kind is Kind.STRUCTURE and file.name in todo:
                    self._apply(conn, file)
            with conn.transaction():
                for file in self._files:
                    if file.kind is Kind.FUNCTION and file.name in todo:
                        self._apply(conn, file)
            return plan

    def plan(self) -> list[Applied]:
        """What `up` would do now; changes nothing. Raises as `up` does, MigrationFailed and MigrateBusy excepted."""
        with self._connect() as conn:
            return self._plan(conn)

    def status(self) -> list[MigrationStatus]:
        """Every migration and where it stands, in order. Raises ForeignSchema, UnfitServer."""
        with self._connect() as conn:
            self._refuse_server(conn)
            return self._status(self._recorded(conn))

    def check(self) -> None:
        """Raise unless the database has exactly the schema of this program.

        Raises:
            SchemaBehind, SchemaAhead, SchemaDrift, ForeignSchema, UnfitServer: the message names the remedy.
        """
        plan = self.plan()
        if plan:
            raise SchemaBehind(
                f"the database lacks {_names([step.name for step in plan])}; run `stepgres migrate up` first."
            )

    def script(self) -> str:
        """The whole installation as one script for `psql -f`; safe to run again, leaves the same records as `up`."""
        return migrate_script.render(self._files, self._queries, self._version)

    # ------------------------------------------------------------------------------------------------- the parts

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._dsn, autocommit=True, application_name="stepgres migrate") as conn:
            conn.execute(self._queries["prepare_session"])
            yield conn

    @contextmanager
    def _locked(self, conn: psycopg.Connection[Any]) -> Iterator[None]:
        try:
            conn.execute(self._queries["lock"])
        except psycopg.errors.LockNotAvailable as late:
            raise MigrateBusy("another migrate has held the lock of this database for a minute; try again.") from late
        try:
            yield
        finally:
            if not conn.closed:
                conn.execute(self._queries["unlock"])

    def _plan(self, conn: psycopg.Connection[Any]) -> list[Applied]:
        self._refuse_server(conn)
        recorded = self._recorded(conn)
        status = self._status(recorded)
        self._refuse_history(status)
        return [
            Applied(line.name, line.kind, "created" if line.state is State.PENDING else "replaced")
            for line in status
            if line.state in (State.PENDING, State.CHANGED)
        ]

    def _status(self, recorded: dict[str, _Recorded]) -> list[MigrationStatus]:
        lines = [self._line("pgmq", Kind.PGMQ, None, recorded.get("pgmq"))]
        lines += [self._line(file.name, file.kind, file.checksum, recorded.get(file.name)) for file in self._files]
        known = {line.name for line in lines}
        lines += [
            MigrationStatus(r.name, r.kind, State.UNKNOWN, r.applied_at, r.version)
            for r in recorded.values()
            if r.name not in known
        ]
        return lines

    @staticmethod
    def _line(name: str, kind: Kind, checksum: str | None, found: _Recorded | None) -> MigrationStatus:
        if found is None:
            return MigrationStatus(name, kind, State.PENDING, None, "")
        same = checksum is None or checksum == found.checksum
        return MigrationStatus(name, kind, State.APPLIED if same else State.CHANGED, found.applied_at, found.version)

    def _recorded(self, conn: psycopg.Connection[Any]) -> dict[str, _Recorded]:
        """Our records; none in a database without a schema pgflow. Raises ForeignSchema."""
        facts = self._row(conn, "schema_facts")
        if not facts["is_ours"]:
            self._refuse_foreign(facts)
            return {}
        rows = conn.cursor(row_factory=dict_row).execute(self._queries["recorded"]).fetchall()
        return {row["name"]: _Recorded(**{**row, "kind": Kind(row["kind"])}) for row in rows}

    @staticmethod
    def _refuse_foreign(facts: dict[str, Any]) -> None:
        found: list[str] = facts["object_names"]
        if not found:
            return
        maker = "another project"
        if facts["has_flows"]:
            maker = "pgflow (its table is called pgflow.flows)"
        elif facts["has_workflows"]:
            maker = "ex_pgflow (pgflow.workflows without the records of stepgres)"
        raise ForeignSchema(
            f"the schema pgflow of this database was made by {maker}; it holds {_names(found)}. "
            "stepgres does not take it over: give it a database of its own."
        )

    def _refuse_server(self, conn: psycopg.Connection[Any]) -> None:
        facts = self._row(conn, "server_facts")
        if facts["version_num"] < MIN_SERVER:
            raise UnfitServer(
                f"PostgreSQL {facts['version_num'] // 10000} is too old; {MIN_SERVER // 10000} or newer is needed."
            )
        if facts["is_standby"]:
            raise UnfitServer("this server is a standby and takes no changes; use the address of the primary.")

    def _refuse_history(self, status: Sequence[MigrationStatus]) -> None:
        unknown = [line.name for line in status if line.state is State.UNKNOWN and line.kind is Kind.STRUCTURE]
        newer = [line.version for line in status if line.kind is not Kind.PGMQ and self._is_newer(line.version)]
        if unknown or newer:
            what = f"has {_names(unknown)}" if unknown else f"was migrated by stepgres {newer[0]}"
            raise SchemaAhead(f"the database {what}, which this stepgres {self._version} does not know; update it.")
        drifted = [line.name for line in status if line.state is State.CHANGED and line.kind is Kind.STRUCTURE]
        if drifted:
            raise SchemaDrift(
                f"{_names(drifted)}: applied to this database with another text. A structure file is never edited once "
                "applied: restore it and put the change into a new file, or, in development, use a fresh database."
            )

    def _is_newer(self, other: str) -> bool:
        def key(version: str) -> list[int]:
            return [int(part) for part in re.findall(r"\d+", version)[:3]]

        return key(other) > key(self._version)

    def _apply(self, conn: psycopg.Connection[Any], file: MigrationFile) -> None:
        try:
            if not file.in_transaction:
                conn.execute(file.text.encode())
            with conn.transaction():
                if file.in_transaction:
                    conn.execute(file.text.encode())
                self._record(conn, file.name, file.kind, file.checksum, self._version)
        except psycopg.Error as error:
            position = getattr(error.diag, "statement_position", None)
            line = file.text[: int(position)].count("\n") + 1 if position else "?"
            raise MigrationFailed(f"{file.name}: line {line}: {error}") from error

    def _record(self, conn: psycopg.Connection[Any], name: str, kind: Kind, checksum: str, version: str) -> None:
        facts = {"name": name, "kind": kind.value, "checksum": checksum, "version": version}
        conn.execute(self._queries["record"], facts)

    def _row(self, conn: psycopg.Connection[Any], query: str) -> dict[str, Any]:
        row = conn.cursor(row_factory=dict_row).execute(self._queries[query]).fetchone()
        assert row is not None
        return row


def load_queries() -> dict[str, bytes]:
    """The named queries of migrate.sql."""
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)
    return {name: body.strip().encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
