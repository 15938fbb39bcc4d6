"""`stepgres doctor`: what is wrong with a coordinator, its workers and its database, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepgres_cli.errors import Exit
from stepgres_cli.options import Output, OutputOption, Target, connect
from stepgres_cli.output import console, print_list

if TYPE_CHECKING:
    from stepgres_worker import Client, QueueInfo

_MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class _Line:
    check: str
    #: None: all is well.
    problem: str | None = None
    remedy: str = ""


def doctor(
    database: Annotated[
        str | None,
        typer.Option(
            "--database-url", envvar="STEPGRES_DATABASE_URL", help="Look at the database too.", show_default=False
        ),
    ] = None,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look a system over: 0 all is well, 1 something needs a remedy.

    Asks the coordinator for steps that nobody serves; with --database-url also for the schema, pgmq, expired sessions,
    vacuum, old transactions and connections.
    """
    lines = [*_coordinator(target), *_database(database)]
    if output is not Output.TABLE:
        print_list(
            "findings",
            ({"check": line.check, "ok": line.problem is None, "problem": line.problem or "", "remedy": line.remedy}
             for line in lines),
            "",
            output,
        )  # fmt: skip
    else:
        _print(lines)
    if any(line.problem is not None for line in lines):
        raise typer.Exit(Exit.REFUSED)


def _coordinator(target: str | None) -> Iterator[_Line]:
    with connect(target) as client:
        yield _Line("coordinator")
        unserved = [queue for queue in _queues(client) if queue.unserved_route_count]
    for queue in unserved:
        handlers = ", ".join(route.handler for route in queue.unserved_routes)
        steps = ", ".join(queue.unserved_steps)
        yield _Line(
            "served steps",
            f"queue {queue.queue}: tasks wait for {handlers}, which no worker serves"
            + (f" (steps {steps})" if steps else ""),
            "start a worker that serves them, or correct the handler's name in the flow (stepgres handler list)",
        )
    if not unserved:
        yield _Line("served steps")


def _queues(client: Client) -> Iterator[QueueInfo]:
    token = ""
    for _ in range(_MAX_PAGES):
        page = client.list_queues(page_size=1000, page_token=token)
        yield from page
        token = page.next_page_token
        if not token:
            return


def _database(address: str | None) -> Iterator[_Line]:
    if address is None:
        return
    from stepgres_service.store.diagnosis import diagnose

    for finding in diagnose(address):
        yield _Line(finding.check, finding.problem, finding.remedy)


def _print(lines: list[_Line]) -> None:
    from rich.text import Text

    for line in lines:
        mark = Text("ok    ", style="green") if line.problem is None else Text("wrong ", style="bold red")
        text: Any = mark + Text(
            line.check if line.problem is None else f"{line.check}: {line.problem}", style="default"
        )
        console().print(text)
        if line.remedy:
            print(f"      {line.remedy}")
