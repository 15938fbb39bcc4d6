from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from stepgres_service.store.migrate import Migrator, State
from stepgres_service.store.migrate_errors import MigrationFailed, SchemaBehind
from tests.support.schema import describe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_schema.sql").write_text("create table pgflow.things (id int);\n")
    (tmp_path / "1001_fn_answer.sql").write_text(
        "create or replace function pgflow.answer() returns int language sql as 'select 41';\n"
    )
    return tmp_path


def test_up_installs_everything_and_a_second_up_does_nothing(empty_database: str) -> None:
    migrator = Migrator(empty_database)
    first = migrator.up()
    before = describe(empty_database)
    assert first[0].name == "pgmq"
    assert migrator.up() == []
    assert describe(empty_database) == before
    assert {line.state for line in migrator.status()} == {State.APPLIED}
    migrator.check()


def test_check_says_what_is_missing_and_how_to_get_it(empty_database: str) -> None:
    with pytest.raises(SchemaBehind, match=r"lacks pgmq, 0001_schema.sql.*run `stepgres migrate up`"):
        Migrator(empty_database).check()


def test_plan_changes_nothing(empty_database: str, folder: Path) -> None:
    migrator = Migrator(empty_database, folder=folder)
    assert [step.name for step in migrator.plan()] == ["pgmq", "0001_schema.sql", "1001_fn_answer.sql"]
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("select to_regnamespace('pgflow'), to_regnamespace('pgmq')").fetchone() == (None, None)


def test_a_changed_function_is_replaced(empty_database: str, folder: Path) -> None:
    Migrator(empty_database, folder=folder).up()
    file = folder / "1001_fn_answer.sql"
    file.write_text(file.read_text().replace("41", "42"))
    done = Migrator(empty_database, folder=folder).up()
    assert [(step.name, step.action) for step in done] == [("1001_fn_answer.sql", "replaced")]
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("select pgflow.answer()").fetchone() == (42,)


def test_a_failing_file_leaves_nothing_of_itself_and_names_its_line(empty_database: str, folder: Path) -> None:
    (folder / "0002_more.sql").write_text("create table pgflow.more (id int);\nselect 1;\nselect nonsense;\n")
    with pytest.raises(MigrationFailed, match=r"0002_more.sql: line 3: .*nonsense"):
        Migrator(empty_database, folder=folder).up()
    with psycopg.connect(empty_database) as conn:
        row = conn.execute("select to_regclass('pgflow.things')::text, to_regclass('pgflow.more')").fetchone()
    assert row == ("pgflow.things", None)


def test_a_no_transaction_file_may_build_an_index_concurrently(empty_database: str, folder: Path) -> None:
    (folder / "0002_index.sql").write_text(
        "-- no-transaction\ncreate index concurrently if not exists things_id on pgflow.things (id);\n"
    )
    Migrator(empty_database, folder=folder).up()
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("select to_regclass('pgflow.things_id')::text").fetchone() == ("pgflow.things_id",)


def test_two_ups_at_once_take_turns(empty_database: str) -> None:
    done: list[int] = []
    errors: list[Exception] = []

    def up() -> None:
        try:
            done.append(len(Migrator(empty_database).up()))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(done)[:3] == [0, 0, 0]
    assert sorted(done)[3] > 1
