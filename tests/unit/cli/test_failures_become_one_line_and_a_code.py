from __future__ import annotations

import psycopg
import pytest

from stepgres_cli.errors import CliError, Exit, explain, report, usage
from stepgres_service.errors import Reason, SetupError
from stepgres_worker import MissingHandlers, RunCancelled, RunFailed, Unavailable


@pytest.mark.parametrize(
    ("error", "first", "code"),
    [
        (usage("INPUT: wrong."), "error: INPUT: wrong.", 2),
        (CliError("no.", reason="WHY"), "error: no.", 1),
        (RunFailed("id", "s", "BROKE", "no money"), "error: run id failed in step s: BROKE: no money", 3),
        (RunCancelled("id"), "error: run id was cancelled", 4),
        (MissingHandlers("f", ["a"]), "error: flow f: no function for a; ", 1),
        (Unavailable("nobody"), "error: nobody", 5),
        (SetupError("pgdata: in use."), "error: pgdata: in use.", 1),
        (
            psycopg.OperationalError("connection\n  refused"),
            "error: the database cannot be used (connection refused); check",
            5,
        ),
        (KeyError("x"), "error: KeyError: 'x'", 1),
    ],
)
def test_every_failure_has_a_first_line_and_a_code(error, first, code):
    lines, actual = explain(error)
    assert lines[0].startswith(first)
    assert actual == code


def test_reasons_follow_where_there_is_one():
    assert explain(CliError("no.", reason="WHY"))[0] == ["error: no.", "reason: WHY"]
    assert explain(SetupError("no.", reason=Reason.FIELD_INVALID))[0] == ["error: no.", "reason: FIELD_INVALID"]


def test_ctrl_c_is_no_error(capsys):
    assert report(KeyboardInterrupt()) == Exit.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_debug_keeps_the_traceback(monkeypatch):
    monkeypatch.setenv("STEPGRES_DEBUG", "1")
    with pytest.raises(CliError):
        report(usage("x"))
