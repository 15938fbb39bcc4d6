"""pgmq, the queue extension: taken as it is found, else by CREATE EXTENSION, else from the SQL of the pinned package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from stepgres_service.store.migrate_errors import UnfitServer

#: The oldest pgmq whose functions do what we need.
MIN_VERSION = (1, 5, 1)


@dataclass(frozen=True, slots=True)
class PgmqSource:
    """How pgmq came into the database."""

    #: Its version; `unknown` for one that was installed as plain SQL by somebody else.
    version: str
    #: sha256 of the SQL text, `extension`, or `found` when it was there before us.
    checksum: str


def bundled_sql() -> str:
    """The install script of the pinned pgmq package."""
    from pgmq.install import get_embedded_install_sql

    return str(get_embedded_install_sql())


def bundled_source() -> PgmqSource:
    """Version and checksum of the bundled script."""
    from pgmq.install import get_embedded_sql_version

    return PgmqSource(str(get_embedded_sql_version()), hashlib.sha256(bundled_sql().encode()).hexdigest())


def ensure_pgmq(conn: psycopg.Connection[Any], queries: dict[str, bytes]) -> PgmqSource:
    """Make pgmq usable in this database and say where it came from. Runs in the caller's transaction.

    Raises:
        UnfitServer: a pgmq is there that is too old or lacks functions.
    """
    facts = _facts(conn, queries)
    found_before = facts["has_schema"]
    if not found_before and facts["is_offered"]:
        try:
            with conn.transaction():
                conn.execute(queries["create_extension"])
        except psycopg.errors.InsufficientPrivilege:
            pass  # offered, but not to this role: the plain SQL needs no more than CREATE on the database
        facts = _facts(conn, queries)
    source: PgmqSource
    if facts["extension_version"]:
        source = PgmqSource(facts["extension_version"], "extension")
    elif found_before:
        source = PgmqSource("unknown", "found")
    else:
        conn.execute(bundled_sql().encode())
        source = bundled_source()
        facts = _facts(conn, queries)
    _refuse_unfit(source, facts)
    return source


def check_pgmq(conn: psycopg.Connection[Any], queries: dict[str, bytes]) -> None:
    """Raises UnfitServer when the database has no pgmq that does what we need."""
    facts = _facts(conn, queries)
    version = facts["extension_version"]
    _refuse_unfit(PgmqSource(version, "extension") if version else PgmqSource("unknown", "found"), facts)


def _facts(conn: psycopg.Connection[Any], queries: dict[str, bytes]) -> dict[str, Any]:
    facts = conn.cursor(row_factory=dict_row).execute(queries["pgmq_facts"]).fetchone()
    assert facts is not None
    return facts


def _refuse_unfit(source: PgmqSource, facts: dict[str, Any]) -> None:
    need = ".".join(map(str, MIN_VERSION))
    if source.checksum == "extension" and _numbers(source.version) < MIN_VERSION:
        raise UnfitServer(
            f"pgmq {source.version} is too old, {need} or newer is needed; run `alter extension pgmq update` as its owner."
        )
    if facts["missing_functions"]:
        raise UnfitServer(
            f"the pgmq of this database lacks {', '.join(facts['missing_functions'])}; install {need} or newer, or use "
            "a database without a schema pgmq and let stepgres install it."
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
