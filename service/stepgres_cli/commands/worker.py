"""`stepgres worker run MODULE:ATTR`: serve the handlers of a Python module."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from stepgres_cli.errors import say
from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import local_time, print_list, print_table

app = typer.Typer(no_args_is_help=True, help="Serve handlers.")


@app.callback()
def group() -> None:
    """Serve handlers."""


@app.command()
def run(
    location: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="A Worker, a Flow, or a list of flows.")],
    concurrency: Annotated[int | None, typer.Option(min=1, help="Tasks at once, per process.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when the code changes; for development.")
    ] = False,
    stop_with_stdin: Annotated[
        bool, typer.Option("--stop-with-stdin", help="Drain when standard input closes, as when a parent dies.")
    ] = False,
    target: Target = None,
) -> None:
    """Serve a module's handlers until Ctrl-C or SIGTERM; tasks at hand are finished first.

    MODULE is imported with the current folder on the path. Example: stepgres worker run hello:worker
    """
    from stepgres_cli.lifeline import stop_with_stdin as watch_stdin
    from stepgres_cli.reload import run_reloading
    from stepgres_cli.workers import load_worker, run_processes, worker_command

    if reload:
        raise typer.Exit(run_reloading(worker_command(location, processes, concurrency, target), Path.cwd()))
    if stop_with_stdin:
        watch_stdin()
    if processes > 1:
        raise typer.Exit(run_processes(location, processes, concurrency, target))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    found = load_worker(location, target, concurrency)
    say(f"handlers: {', '.join(found.handlers) or 'none'}; Ctrl-C stops after the tasks at hand.")
    found.run()


@app.command("list")
def list_workers(
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the workers that are connected, or in their grace: handlers, tasks at hand, free slots."""
    with connect(target) as client:
        page = client.list_workers(page_size=limit, page_token=page_token)
    if output is not Output.TABLE:
        print_list("workers", (worker.to_dict() for worker in page), page.next_page_token, output)
        return
    print_table(
        ("worker", "tasks", "free", "last seen", "since", "handlers"),
        (
            (w.worker, w.in_flight, w.credits, f"{w.lag_ms / 1000:.0f} s ago", local_time(w.connect_time),
             ", ".join(w.handlers[:3]) + (f" and {w.handler_count - 3} more" if w.handler_count > 3 else ""))
            for w in page
        ),
        empty="no worker is connected; start one with `stepgres worker run MODULE:ATTR`.",
    )  # fmt: skip
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")
