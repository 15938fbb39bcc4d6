from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from stepgres_service.errors import SetupError
from stepgres_service.store.migrate import Migrator, State
from stepgres_service.store.migrate_errors import ForeignSchema, SchemaAhead, SchemaDrift, UnfitServer
from stepgres_service.store.migrate_files import load_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_schema.sql").write_text("create table pgflow.things (id int);\n")
    return tmp_path


def _run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def test_an_edited_structure_file_is_refused(empty_database: str, folder: Path) -> None:
    Migrator(empty_database, folder=folder).up()
    (folder / "0001_schema.sql").write_text("create table pgflow.things (id bigint);\n")
    migrator = Migrator(empty_database, folder=folder)
    with pytest.raises(SchemaDrift, match=r"0001_schema.sql: applied .* with another text"):
        migrator.up()
    assert [line.state for line in migrator.status() if line.name == "0001_schema.sql"] == [State.CHANGED]


def test_line_ends_are_not_drift(empty_database: str, folder: Path) -> None:
    Migrator(empty_database, folder=folder).up()
    (folder / "0001_schema.sql").write_bytes(b"create table pgflow.things (id int);\r\n")
    assert Migrator(empty_database, folder=folder).up() == []


@pytest.mark.parametrize(
    ("table", "maker"),
    [("flows", r"pgflow \(its table"), ("workflows", "ex_pgflow"), ("widgets", "another project")],
)
def test_the_schema_of_another_project_is_named_and_left_alone(empty_database: str, table: str, maker: str) -> None:
    _run(empty_database, "create schema pgflow", f"create table pgflow.{table} (id int)")
    for action in (Migrator(empty_database).up, Migrator(empty_database).check, Migrator(empty_database).status):
        with pytest.raises(ForeignSchema, match=rf"made by {maker}.*holds {table}"):
            action()
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("select to_regnamespace('pgmq')").fetchone() == (None,)


def test_an_empty_schema_made_beforehand_is_taken(empty_database: str, folder: Path) -> None:
    _run(empty_database, "create schema pgflow")
    assert len(Migrator(empty_database, folder=folder).up()) == 2


def test_a_database_with_a_file_we_do_not_know_is_ahead(empty_database: str, folder: Path) -> None:
    (folder / "0002_future.sql").write_text("select 1;\n")
    Migrator(empty_database, folder=folder).up()
    (folder / "0002_future.sql").unlink()
    with pytest.raises(SchemaAhead, match=r"0002_future.sql.*update it"):
        Migrator(empty_database, folder=folder).check()


def test_a_database_migrated_by_a_newer_program_is_ahead(empty_database: str, folder: Path) -> None:
    Migrator(empty_database, folder=folder, version="0.10.0").up()
    with pytest.raises(SchemaAhead, match=r"stepgres 0\.10\.0"):
        Migrator(empty_database, folder=folder, version="0.9.1").up()


def test_a_pgmq_without_our_functions_is_refused(empty_database: str, folder: Path) -> None:
    _run(empty_database, "create schema pgmq")
    with pytest.raises(UnfitServer, match=r"lacks pgmq.create\(text\)"):
        Migrator(empty_database, folder=folder).up()


def test_a_pgmq_installed_before_is_accepted_and_recorded_as_found(empty_database: str, folder: Path) -> None:
    from pgmq.install import get_embedded_install_sql

    _run(empty_database, get_embedded_install_sql())
    migrator = Migrator(empty_database, folder=folder)
    migrator.up()
    with psycopg.connect(empty_database) as conn:
        row = conn.execute("select checksum, version from pgflow.schema_migrations where name = 'pgmq'").fetchone()
    assert row == ("found", "unknown")


@pytest.mark.parametrize("name", ["2001_x.sql", "1001_x.sql", "0001_fn_x.sql", "01_x.sql", "0001_X.sql"])
def test_a_misnamed_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("select 1;\n")
    with pytest.raises(SetupError, match="a migration is named"):
        load_files(folder)


def test_two_files_with_one_number_are_refused(folder: Path) -> None:
    (folder / "0001_other.sql").write_text("select 1;\n")
    with pytest.raises(SetupError, match=r"its number is taken by"):
        load_files(folder)
