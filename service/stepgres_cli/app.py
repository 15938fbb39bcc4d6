"""The tree of commands. Bodies import what they need when they run, so that the tree itself is quick to build."""

from __future__ import annotations

from typing import Annotated

import typer

from stepgres_cli.commands import (
    conformance,
    dev,
    doctor,
    flow,
    handler,
    health,
    migrate,
    plan,
    queue,
    run,
    serve,
    worker,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="A workflow engine that lives in PostgreSQL and speaks gRPC.",
    epilog="Exit codes: 0 ok, 1 refused, 2 usage, 3 run failed, 4 run cancelled, 5 unreachable.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from stepgres_cli import version

        print(f"stepgres {version()}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A workflow engine that lives in PostgreSQL and speaks gRPC."""


app.command()(dev.dev)
app.command()(serve.serve)
app.command()(migrate.migrate)
app.command()(health.health)
app.command()(doctor.doctor)
app.command()(conformance.conformance)
for command in (plan.apply, plan.validate, plan.schema, plan.graph, plan.stats):
    flow.app.command()(command)
app.add_typer(flow.app, name="flow")
app.add_typer(run.app, name="run")
app.add_typer(worker.app, name="worker")
app.add_typer(handler.app, name="handler")
app.add_typer(queue.app, name="queue")
