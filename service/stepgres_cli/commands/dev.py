"""`stepgres dev`: PostgreSQL, schema and coordinator in one command, for development."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from stepgres_cli.errors import CliError

DEFAULT_PORT = 50051


def dev(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder to keep the data in.", show_default="~/.local/state/stepgres")
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing.")] = False,
    port: Annotated[
        int, typer.Option(envvar="STEPGRES_PORT", min=0, max=65535, help="Port, 0 for a free one.")
    ] = DEFAULT_PORT,
) -> None:
    """Run PostgreSQL and a coordinator until Ctrl-C, after which no process is left. For development only."""
    from stepgres_cli.lifeline import stop_with_terminal
    from stepgres_cli.settings import load_settings, serve_until_stopped
    from stepgres_service.dev import EmbeddedPostgres
    from stepgres_service.store.migrate import Migrator

    stop_with_terminal()
    # Until the coordinator takes the signal over: leave through `with`, which stops PostgreSQL.
    signal.signal(signal.SIGTERM, _interrupt)
    port = choose_port(port)
    folder = None if ephemeral else (data or default_data_folder())
    try:
        with EmbeddedPostgres(folder) as postgres:
            Migrator(postgres.dsn()).up()
            settings = load_settings(database_url=postgres.dsn(), port=port)
            print(greeting(f"127.0.0.1:{port}", folder), flush=True)
            serve_until_stopped(settings)
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def choose_port(port: int) -> int:
    """The port itself if nobody listens there; for 0 a free one.

    Raises:
        CliError: it is taken. gRPC alone would share it with another coordinator and not say so.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CliError(f"--port: {port} is taken ({error.strerror}); choose another one, or 0.") from error
        return int(probe.getsockname()[1])


def default_data_folder() -> Path:
    """`stepgres` in the XDG state folder."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "stepgres"


def greeting(address: str, folder: Path | None) -> str:
    """What a person needs next."""
    target = "" if address == f"127.0.0.1:{DEFAULT_PORT}" else f" --target {address}"
    kept = f"data in {folder}" if folder is not None else "nothing is kept"
    return f"""stepgres is ready at {address} ({kept}). Ctrl-C stops it.

Next, in another terminal:
  stepgres flow create hello --step greet{target}
  stepgres worker run MODULE:ATTR{target}
  stepgres run start hello '{{"name": "Ada"}}' --watch{target}
"""
