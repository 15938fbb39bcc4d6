"""`stepgres conformance -- COMMAND`: judge a worker in any language by the rules of the protocol."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepgres_cli.errors import CliError, Exit, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepgres_conformance.kit import Verdict


class Form(StrEnum):
    """How the verdicts are told."""

    #: For people: a line for each point as it is done.
    TABLE = "table"
    #: For programs: one object on one line.
    JSON = "json"


def conformance(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="Starts the worker under test.")],
    only: Annotated[str, typer.Option(help="Words: only points whose name holds one, or themes.")] = "",
    tasks: Annotated[int, typer.Option(min=1, max=100_000, help="Tasks of the point that sends many.")] = 20_000,
    keep_going: Annotated[bool, typer.Option("--keep-going/--stop", help="Go on after a failed point.")] = True,
    minimal: Annotated[bool, typer.Option("--minimal", help="Leave out what a minimal worker may leave out.")] = False,
    output: Annotated[Form, typer.Option("--output", "-o", help="For people, or for programs.")] = Form.TABLE,
    report: Annotated[Path | None, typer.Option(help="Also write the object for programs to this file.")] = None,
) -> None:
    """Judge the worker that COMMAND starts, by the rules of docs/protocol.md, with a system of its own.

    The command is started with the environment of docs/conformance.md. Exit codes: 0 every point passed, 1 some failed,
    2 it cannot be started or never connects, 5 the kit's own system does not work.

    Example: stepgres conformance -- ./my-worker
    """
    import asyncio
    import json
    import os
    import signal

    from stepgres_conformance.kit import Options, chosen, judge, summary
    from stepgres_conformance.process import Unusable
    from stepgres_conformance.system import SystemBroken

    options = Options(tuple(only.replace(",", " ").split()), keep_going, minimal, tasks)
    if not chosen(options):
        raise usage(f"--only: no point is named like {only!r}; `stepgres conformance --help` tells what it takes.")
    people = output is Form.TABLE
    # As Ctrl-C: everything that was started is ended first.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(os.getpid(), signal.SIGINT))
    try:
        verdicts = asyncio.run(judge(command, options, _tell if people else _be_quiet))
    except Unusable as unusable:
        raise usage(f"COMMAND: {unusable}.") from unusable
    except SystemBroken as broken:
        message = f"the kit itself does not work, nothing is said about the worker: {broken}"
        raise CliError(message, code=Exit.UNREACHABLE) from broken
    answer = summary(verdicts)
    line = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    if report is not None:
        report.write_text(f"{line}\n")
    if people:
        _tell_end(verdicts)
    else:
        print(line, flush=True)
    if answer["failed"]:
        raise typer.Exit(Exit.REFUSED)


def _be_quiet(_verdict: Verdict) -> None:
    """Programs read the object at the end."""


def _tell(verdict: Verdict) -> None:
    point, mark = verdict.point, {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[verdict.status]
    print(f"{mark:8}{point.id:22}{' '.join(point.rules):26}{verdict.seconds:5.1f} s  {point.sentence}", flush=True)
    if verdict.seen:
        print(f"{'':8}{verdict.rule + ': ' if verdict.rule else ''}{verdict.seen}", flush=True)


def _tell_end(verdicts: Sequence[Verdict]) -> None:
    counts = {status: sum(v.status == status for v in verdicts) for status in ("passed", "failed", "skipped")}
    print(f"\n{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", end="")
    broken = sorted({verdict.rule for verdict in verdicts if verdict.rule})
    print(f"; broken rules of docs/protocol.md: {', '.join(broken)}" if broken else "")
