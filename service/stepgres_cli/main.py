"""The entry point: builds the commands, runs one, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> NoReturn:
    """What the command `stepgres` runs; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line.

    Args:
        args: the words after `stepgres`.

    Returns:
        The exit code, one of `stepgres_cli.errors.Exit` or 130 after Ctrl-C.
    """
    if list(args) == ["--version"]:  # before the imports below: scripts ask this often
        from stepgres_cli import version

        print(f"stepgres {version()}")
        return 0
    # Read when gRPC is imported: else its notes on connections that end are mixed into what people read.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stepgres_cli.app import app
    from stepgres_cli.errors import report

    try:
        # An int is what a command, or typer.Exit, ended with; everything else is 0.
        answer = app(args=list(args), prog_name="stepgres", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 the last line of defence: no traceback reaches a person
        return report(error)
    return answer if isinstance(answer, int) else 0
