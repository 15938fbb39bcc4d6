"""`stepgres migrate`: bring a database to the schema of this program, say what is missing, or print the script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepgres_cli.errors import usage
from stepgres_cli.options import Output, OutputOption
from stepgres_cli.output import local_time, print_list, print_table

if TYPE_CHECKING:
    from stepgres_service.store.migrate import Migrator

Action = Annotated[str, typer.Argument(metavar="up|status", help="Apply what is missing, or say where it stands.")]


def migrate(
    action: Action = "up",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what `up` would do, and change nothing.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the whole installation as a script for psql.")] = False,
    database: Annotated[
        str | None,
        typer.Option("--database-url", help="Direct address.", show_default="STEPGRES_DATABASE_URL"),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a database to the schema of this stepgres. Safe to run again, and by several at once.

    `migrate --sql` needs no database: stepgres migrate --sql | psql -v ON_ERROR_STOP=1 mydatabase
    """
    if action not in {"up", "status"}:
        raise usage(f"{action!r} is unknown; it is up or status.")
    if sql:
        print(_migrator("").script(), end="")
        return
    migrator = _migrator(_address(database))
    if action == "status":
        _print_status(migrator, output)
        return
    steps = migrator.plan() if dry_run else migrator.up()
    if output is not Output.TABLE:
        print_list("applied", ({"name": s.name, "kind": s.kind, "action": s.action} for s in steps), "", output)
        return
    for step in steps:
        print(f"{'would be ' if dry_run else ''}{step.action}: {step.name}")
    if not steps:
        print("the database is up to date.")


def _print_status(migrator: Migrator, output: Output) -> None:
    lines = migrator.status()
    if output is not Output.TABLE:
        items = (
            {"name": line.name, "kind": line.kind, "status": line.state, "version": line.version,
             "applied_time": line.applied_at.isoformat() if line.applied_at else None}
            for line in lines
        )  # fmt: skip
        print_list("migrations", items, "", output)
        return
    print_table(
        ("migration", "kind", "status", "applied", "by version"),
        ((line.name, line.kind, line.state, local_time(line.applied_at), line.version) for line in lines),
        empty="no migrations.",
    )


def _migrator(dsn: str) -> Migrator:
    from stepgres_service.store.migrate import Migrator

    return Migrator(dsn)


def _address(given: str | None) -> str:
    """The option, else what the coordinator would use (its direct address, where one is set for LISTEN)."""
    if given is not None:
        return given
    from stepgres_cli.settings import load_settings

    settings = load_settings()
    return settings.listen_database_url or settings.database_url
