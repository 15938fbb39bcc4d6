from __future__ import annotations

import json

from tests.acceptance.processes import stepgres


def test_a_dry_run_changes_nothing_up_applies_and_again_finds_nothing(empty_database):
    url = f"--database-url={empty_database}"
    planned = stepgres("migrate", "--dry-run", url)
    assert planned.returncode == 0, planned.stderr
    assert "would be created: pgmq" in planned.stdout
    applied = stepgres("migrate", "up", url)
    assert applied.stdout == planned.stdout.replace("would be ", "")
    again = stepgres("migrate", url)
    assert again.stdout == "the database is up to date.\n", again.stderr
    status = json.loads(stepgres("migrate", "status", url, "--output", "json").stdout)
    assert {line["status"] for line in status["migrations"]} == {"applied"}


def test_the_script_needs_no_database():
    answer = stepgres("migrate", "--sql")
    assert answer.returncode == 0, answer.stderr
    assert "pgflow.schema_migrations" in answer.stdout


def test_a_database_that_does_not_answer_ends_with_5():
    answer = stepgres("migrate", "--database-url=postgresql://nobody@127.0.0.1:9/none")
    assert answer.returncode == 5
    assert answer.stderr.startswith("error: the database cannot be used (connection to server at ")
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr


def test_a_failed_start_names_the_setting():
    answer = stepgres("migrate", "up")
    assert answer.returncode == 2
    assert "STEPGRES_DATABASE_URL" in answer.stderr
