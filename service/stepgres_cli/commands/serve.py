"""`stepgres serve`: run a coordinator."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address; port 0 takes a free one.", show_default="STEPGRES_LISTEN"),
    ] = None,
    stop_with_stdin: Annotated[
        bool, typer.Option("--stop-with-stdin", help="Shut down when standard input closes, as when a parent dies.")
    ] = False,
) -> None:
    """Run a coordinator until Ctrl-C or SIGTERM, with the settings STEPGRES_*. The database must be migrated."""
    from stepgres_cli.lifeline import stop_with_stdin as watch_stdin
    from stepgres_cli.settings import load_settings, serve_until_stopped

    if stop_with_stdin:
        watch_stdin()
    serve_until_stopped(load_settings(listen=listen))
