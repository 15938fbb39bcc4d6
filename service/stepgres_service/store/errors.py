"""What the database's errors mean in the domain: SQLSTATE -> domain class, in one table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolTimeout

from stepgres_service.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    StepgresError,
    Unavailable,
    Violation,
)

#: SQLSTATE classes of a database that is away, shutting down, full, or a standby.
_AWAY = ("08", "57", "53", "58")
_AWAY_CODES = frozenset({"25006"})

#: A connection and its client do not agree on what is prepared.
LOST_STATEMENTS = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)

#: The field that a message of our functions begins with, such as `step.depends_on[0]: `.
_PATH = re.compile(r"([a-z_]+(?:\.[a-z_]+|\[\d+\])*): ")


def translate(error: psycopg.Error) -> StepgresError:
    """The domain's word for a database error."""
    state = error.sqlstate or ""
    text = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
    path = found[1] if (found := _PATH.match(text)) else ""
    if state == "PF400":
        message = text.removeprefix(f"{path}: ")
        return InvalidArgument(Violation(path, Reason(error.diag.constraint_name or Reason.FIELD_INVALID), message))
    if state == "PF404":
        return NotFound(text, reason=Reason(error.diag.constraint_name or Reason.FLOW_NOT_FOUND), field=path)
    if state == "PF409":
        return AlreadyExists(text, reason=Reason(error.diag.constraint_name or Reason.FLOW_EXISTS), field=path)
    if state == "PF412":
        return FailedPrecondition(
            text, reason=Reason(error.diag.constraint_name or Reason.FLOW_HAS_ACTIVE_RUNS), field=path
        )
    if state[:2] == "40" or state == "55P03":
        return Unavailable(
            f"other transactions were in the way ({text}); try again",
            reason=Reason.DATABASE_UNAVAILABLE,
            retry_after_s=0.1,
        )
    if isinstance(error, LOST_STATEMENTS):
        return Unavailable(
            f"a connection to the database has lost its prepared statements ({text}); try again, and behind a pooler "
            "leave STEPGRES_PREPARE_THRESHOLD unset",
            reason=Reason.DATABASE_UNAVAILABLE,
            retry_after_s=0.1,
        )
    if state[:2] in _AWAY or state in _AWAY_CODES or isinstance(error, psycopg.OperationalError | PoolTimeout):
        return Unavailable(
            f"the database cannot be reached now ({text}); try again",
            reason=Reason.DATABASE_UNAVAILABLE,
            retry_after_s=1.0,
        )
    return StepgresError(f"{state}: {text}")


@contextmanager
def translated() -> Iterator[None]:
    """Raises the domain's word for whatever the database raises inside."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error
