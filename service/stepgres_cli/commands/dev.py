"""`stepgres dev`: PostgreSQL, schema and coordinator in one command, for development."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from stepgres_cli.errors import CliError, usage

DEFAULT_LISTEN = "127.0.0.1:50051"


def default_data_folder() -> Path:
    """`stepgres` in the XDG state folder; for root `/var/lib/stepgres`, since PostgreSQL refuses to run as root and the
    user that runs it instead cannot enter root's home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state) / "stepgres"
    return Path("/var/lib/stepgres") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "stepgres"


def dev(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder to keep the data in.", show_default=str(default_data_folder()))
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of --listen, 0 for a free one.")] = None,
    listen: Annotated[
        str, typer.Option(envvar="STEPGRES_LISTEN", metavar="HOST:PORT", help="Address to serve on.")
    ] = DEFAULT_LISTEN,
) -> None:
    """Run PostgreSQL and a coordinator until Ctrl-C, after which no process is left. For development only."""
    from stepgres_cli.lifeline import stop_with_terminal
    from stepgres_cli.settings import load_settings, serve_until_stopped
    from stepgres_service.dev import EmbeddedPostgres
    from stepgres_service.store.migrate import Migrator

    if data is not None and ephemeral:
        raise usage("--data and --ephemeral: a folder is kept or nothing is; give one of them.")
    stop_with_terminal()
    # Until the coordinator takes the signal over: leave through `with`, which stops PostgreSQL.
    signal.signal(signal.SIGTERM, _interrupt)
    address = choose_address(listen, port)
    folder = None if ephemeral else (data or default_data_folder())
    try:
        with EmbeddedPostgres(folder) as postgres:
            Migrator(postgres.dsn()).up()
            settings = load_settings(database_url=postgres.dsn(), listen=address, **_quiet(), **_prompt())
            serve_until_stopped(
                settings,
                on_ready=lambda: say_to_people(greeting(address, folder, postgres.dsn())),
                on_drain=lambda: say_to_people("\nstopping … (Ctrl-C again to stop at once)"),
            )
    except KeyboardInterrupt:
        return


def _prompt() -> dict[str, float]:
    """Workers have nowhere else to go when the only coordinator stops: they get a second, unless told otherwise."""
    return {} if os.environ.get("STEPGRES_DRAIN_S") else {"drain_s": 1.0}


def _quiet() -> dict[str, str]:
    """A developer's terminal gets text, and only what needs attention, unless the environment says otherwise."""
    defaults = {"log_level": "warning", "log_format": "console"}
    return {name: value for name, value in defaults.items() if f"STEPGRES_{name.upper()}" not in os.environ}


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def choose_address(listen: str, port: int | None = None) -> str:
    """The address with its port, or the one given apart; 0 is replaced by a free one.

    Raises:
        CliError: it is no address, or taken. PostgreSQL need not start to find that out.
    """
    host, _, text = listen.rpartition(":")
    if not host or not text.isdigit():
        raise usage(f"--listen: {listen!r} is no HOST:PORT; write it like {DEFAULT_LISTEN}.")
    wanted = int(text) if port is None else port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), wanted))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CliError(f"--listen: {host}:{wanted} cannot be used ({why}); choose another port, or 0.") from error
        return f"{host}:{probe.getsockname()[1]}"


def say_to_people(text: str) -> None:
    """Print, whatever became of the terminal."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def greeting(address: str, folder: Path | None, database: str) -> str:
    """What a person needs next."""
    target = "" if address == DEFAULT_LISTEN else f" --target {address}"
    kept = f"data in {folder}" if folder is not None else "nothing is kept"
    return f"""stepgres is ready at {address} ({kept}). Ctrl-C stops it.
PostgreSQL: {database}

Next, in another terminal, in the folder examples/python/hello:
  stepgres worker run hello:worker{target}
and in a third one:
  stepgres run start hello '["Ada", "Grace"]' --watch{target}
"""
