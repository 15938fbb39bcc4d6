"""The one table from SQLSTATE to domain class, with errors that a real server raises."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from stepgres_service.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    StepgresError,
    Unavailable,
)
from stepgres_service.store.errors import translate, translated


async def raised(
    conn: psycopg.AsyncConnection, sqlstate: str, message: str = "text", constraint: str = ""
) -> StepgresError:
    body = sql.SQL("do $$ begin raise exception using message = {}, errcode = {}, constraint = {}; end $$").format(
        message, sqlstate, constraint
    )
    with pytest.raises(psycopg.Error) as caught:
        await conn.execute(body)
    return translate(caught.value)


@pytest.mark.parametrize(
    ("sqlstate", "constraint", "kind"),
    [
        ("PF400", "UNKNOWN_DEPENDENCY", InvalidArgument),
        ("PF404", "FLOW_NOT_FOUND", NotFound),
        ("PF409", "STEP_EXISTS", AlreadyExists),
        ("PF412", "FLOW_HAS_ACTIVE_RUNS", FailedPrecondition),
    ],
)
async def test_our_own_codes_keep_reason_field_and_text(conn, sqlstate, constraint, kind):
    error = await raised(conn, sqlstate, "step.depends_on[2]: is wrong: look; mend it", constraint)

    assert type(error) is kind
    assert (error.reason, error.field) == (Reason(constraint), "step.depends_on[2]")
    assert error.message == "step.depends_on[2]: is wrong: look; mend it"


@pytest.mark.parametrize("text", ["no path at all", "Not a path: text", "not a path: text"])
async def test_a_text_without_a_path_names_no_field(conn, text):
    error = await raised(conn, "PF409", text, "FLOW_EXISTS")

    assert (error.field, error.message) == ("", text)


@pytest.mark.parametrize(
    "sqlstate",
    [
        "08006",  # connection failure
        "25006",  # read-only: a standby, after a failover
        "53100",  # disk full
        "53300",  # too many connections
        "57P01",  # shutting down
        "57P03",  # starting up
    ],
)
async def test_a_database_that_is_away_is_worth_another_try(conn, sqlstate):
    error = await raised(conn, sqlstate)

    assert type(error) is Unavailable
    assert error.reason is Reason.DATABASE_UNAVAILABLE
    assert error.retry_after_s == pytest.approx(1.0)
    assert "try again" in error.message


async def test_a_broken_connection_is_worth_another_try(database, conn):
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        await conn.execute("select pg_terminate_backend(%s)", (other.info.backend_pid,))

        with pytest.raises(Unavailable), translated():
            await other.execute("select 1")


@pytest.mark.parametrize("sqlstate", ["42P01", "XX000", "23505"])
async def test_what_nobody_foresaw_is_a_fault_of_ours(conn, sqlstate):
    error = await raised(conn, sqlstate, "details for the log")

    assert type(error) is StepgresError
    assert error.reason is Reason.INTERNAL
    assert sqlstate in error.message


async def test_the_cause_is_kept(conn):
    with pytest.raises(NotFound) as caught, translated():
        await conn.execute("select pgflow.delete_flow('nothing')")

    assert isinstance(caught.value.__cause__, psycopg.Error)


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "55P03"])
async def test_who_met_another_transaction_may_try_again_soon(conn, sqlstate):
    error = await raised(conn, sqlstate)

    assert type(error) is Unavailable
    assert error.retry_after_s == pytest.approx(0.1)
    assert "in the way" in error.message
