"""`stepgres run …`: start runs, follow them, end them, let them go on."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepgres_cli.completion import complete_flow, complete_run
from stepgres_cli.errors import CliError, Exit, say, usage
from stepgres_cli.flowfile import read_plan
from stepgres_cli.inputs import read_json
from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import (
    console,
    elapsed,
    pretty_payload,
    print_facts,
    print_json,
    print_list,
    print_table,
    seconds,
    short_time,
)
from stepgres_cli.run_ids import resolve_run_id
from stepgres_cli.tasks import print_task, print_tasks, waiting_retries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepgres_cli.watching import View
    from stepgres_worker import Client, Run, RunSnapshot

app = typer.Typer(no_args_is_help=True, help="Start runs, follow them, end them, let them go on.")

#: Seconds between two looks for what holds a watched run up.
_HINT_EVERY_S = 3.0

InputArgument = Annotated[str | None, typer.Argument(metavar="INPUT", help="JSON, @FILE or -.", show_default="{}")]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Follow it; the exit code tells how it ended.")]
KeyOption = Annotated[str | None, typer.Option(help="Idempotency key: the same key starts nothing twice.")]
ScopeOption = Annotated[str, typer.Option(help="Only workers of this scope get its tasks.", show_default=False)]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of the run, or a unique part of its beginning or end.", autocompletion=complete_run
    ),
]


@app.command()
def start(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Slug of the flow.", autocompletion=complete_flow)],
    input_: InputArgument = None,
    watch: WatchOption = False,
    key: KeyOption = None,
    scope: ScopeOption = "",
    version: Annotated[int, typer.Option(min=0, help="Version of the flow.", show_default="the latest")] = 0,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run.

    Example: stepgres run start hello '["Ada", "Grace"]' --watch
    """
    body = read_json(input_, "INPUT")
    with connect(target) as client:
        run = client.start_run(flow, body, idempotency_key=key, scope=scope, version=version)
        _tell_started(client, run, flow, watch, output)


@app.command("plan")
def start_plan(
    file: Annotated[str, typer.Option("--file", "-f", help="The plan as JSON or YAML; - reads stdin.")],
    input_: InputArgument = None,
    watch: WatchOption = False,
    key: KeyOption = None,
    scope: ScopeOption = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run of a plan: a flow file without slug, of which nothing stays but its run.

    A step's handler is by default the step's slug. Example: stepgres run plan -f trip.json '{"city": "Rome"}' --watch
    """
    if file == input_ == "-":
        raise usage("INPUT: standard input is the plan already (--file -); give the input as JSON or @FILE.")
    plan = read_plan(file)
    body = read_json(input_, "INPUT")
    with connect(target) as client:
        try:
            run = client.start_run(input=body, plan=plan, idempotency_key=key, scope=scope)
        except ValueError as error:
            raise usage(f"--file: {file}: {error}") from error
        _tell_started(client, run, "the plan", watch, output)


def _tell_started(client: Client, run: Run, what: str, watch: bool, output: Output) -> None:
    if watch:
        raise typer.Exit(_follow(client, run, output))
    if output is not Output.TABLE:
        print_json({"run_id": run.id, "created": run.created}, output)
        return
    print(run.id)
    say(f"{'started' if run.created else 'exists already'}: run of {what}; follow it: stepgres run watch {run.id}")


@app.command("watch")
def watch_run(run_id: RunId, target: Target = None, output: OutputOption = Output.TABLE) -> None:
    """Follow a run to its end: 0 it completed, 3 it failed, 4 it was cancelled."""
    with connect(target) as client:
        raise typer.Exit(_follow(client, client.run(resolve_run_id(client, run_id)), output))


def _follow(client: Client, run: Run, output: Output) -> Exit:
    """Show a run until it ends, then its output or error; returns the exit code."""
    from stepgres_cli.watching import headline, make_view, watch

    try:
        if output is not Output.TABLE:
            return _follow_for_programs(run, output)
        view = make_view()
        with _hints(client, run, view):
            last = watch(run.watch(full=True), view)
    except KeyboardInterrupt:
        say(f"\nThe run goes on; follow it again: stepgres run watch {run.id}")
        raise
    console().print(headline(last))
    if last.error is not None:
        _say_error(last)
    if last.output_json is not None:
        print(pretty_payload(last.output_json))
    return exit_code(last)


@contextlib.contextmanager
def _hints(client: Client, run: Run, view: View) -> Iterator[None]:
    """Every few seconds say why a run stands still, each reason once: steps that nobody serves, tasks that failed and
    wait for their next attempt."""
    ended = threading.Event()
    said: set[str] = set()

    def note(key: str, text: str) -> None:
        if key not in said and not ended.is_set():
            said.add(key)
            view.note(text)

    def look() -> None:
        while not ended.wait(_HINT_EVERY_S):
            with contextlib.suppress(Exception):  # a hint, no more: the watch itself reports what is wrong
                snapshot = run.get(full=False)
                steps = [step.step for step in snapshot.steps.values() if step.unserved]
                if steps:
                    names = ", ".join(_with_handlers(client, snapshot, steps))
                    note(names, f"no worker serves {names}; start one with `stepgres worker run MODULE:ATTR`.")
                for key, line in waiting_retries(client, run.id):
                    note(key, line)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join(1.0)  # a remark under way comes before what follows, or not at all


def _with_handlers(client: Client, run: RunSnapshot, steps: list[str]) -> list[str]:
    """`tell (handler send_mail)`: what a worker has to serve is the handler, which need not be called like the step."""
    handlers: dict[str, str] = {}
    with contextlib.suppress(Exception):  # deleted meanwhile, or out of reach: the steps alone say something too
        handlers = {step.slug: step.handler for step in client.get_flow(run.flow, version=run.version).steps}
    return [f"{step} (handler {handlers[step]})" if step in handlers else step for step in steps]


def _follow_for_programs(run: Run, output: Output) -> Exit:
    """JSONL: every snapshot; JSON: the last one."""
    last: RunSnapshot | None = None
    for last in run.watch(full=True):
        if output is Output.JSONL:
            print_json(last.to_dict(), output)
    if last is None:
        raise CliError(f"run {run.id}: the watch ended without a frame; try again.", code=Exit.UNREACHABLE)
    if output is Output.JSON:
        print_json(last.to_dict(), output)
    if last.error is not None:
        _say_error(last)
    return exit_code(last)


def exit_code(run: RunSnapshot) -> Exit:
    """What the end of a run means for a script."""
    return {"failed": Exit.RUN_FAILED, "cancelled": Exit.RUN_CANCELLED}.get(run.status.value, Exit.OK)


def _say_error(run: RunSnapshot) -> None:
    say(f"error: {_error_text(run)}")
    if run.error is not None and run.error.code:
        say(f"reason: {run.error.code}")


def _error_text(run: RunSnapshot) -> str:
    """Where a run failed, why and in which attempt; empty when it did not."""
    error = run.error
    if error is None:
        return ""
    where = f"{error.step}[{error.task_index}]: " if error.step else ""
    attempt = f" (attempt {error.attempt})" if error.attempt else ""
    return f"{where}{error.message}{attempt}"


@app.command("list")
def list_runs(
    flow: Annotated[
        str, typer.Option(help="Only runs of this flow.", show_default=False, autocompletion=complete_flow)
    ] = "",
    status: Annotated[
        str, typer.Option(help="Only runs in this status: started, completed, failed, cancelled.", show_default=False)
    ] = "",
    limit: PageSize = 20,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, newest first."""
    if status and status not in {"started", "completed", "failed", "cancelled"}:
        raise usage(f"--status: {status!r} is unknown; it is started, completed, failed or cancelled.")
    with connect(target) as client:
        page = client.list_runs(flow=flow, status=status or None, page_size=limit, page_token=page_token)
    if output is not Output.TABLE:
        print_list("runs", (run.to_dict() for run in page), page.next_page_token, output)
        return
    print_table(
        ("run", "flow", "v", "status", "started", "took"),
        (
            (run.run_id, run.flow, run.version, run.status.value, short_time(run.start_time),
             seconds(elapsed(run.start_time, run.end_time)))
            for run in page
        ),
        empty="no such runs; start one with `stepgres run start`.",
    )  # fmt: skip
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


@app.command()
def get(run_id: RunId, target: Target = None, output: OutputOption = Output.TABLE) -> None:
    """Show a run with its steps, input, output and error."""
    from stepgres_cli.watching import headline, steps_table

    with connect(target) as client:
        run = client.get_run(resolve_run_id(client, run_id))
        retries = [] if run.end_time is not None else [line for _, line in waiting_retries(client, run.run_id)]
    if output is not Output.TABLE:
        print_json(run.to_dict(), output)
        return
    console().print(headline(run))
    console().print(steps_table(run))
    for line in retries:
        print(line)
    print_facts(_facts(run))


def _facts(run: RunSnapshot) -> list[tuple[str, Any]]:
    return [
        ("scope", run.scope),
        ("key", run.idempotency_key),
        ("started", run.start_time),
        ("ended", run.end_time),
        ("input", pretty_payload(run.input_json, max_lines=10) if run.input_json is not None else None),
        ("output", pretty_payload(run.output_json) if run.output_json is not None else None),
        ("error", _error_text(run)),
        ("reason", run.error.code if run.error is not None else None),
    ]


@app.command()
def tasks(
    run_id: RunId,
    step: Annotated[str, typer.Option(help="Only tasks of this step.", show_default=False)] = "",
    index: Annotated[
        int | None, typer.Option(min=0, help="One task of --step, with input, output and every attempt.")
    ] = None,
    status: Annotated[
        str,
        typer.Option(help="Only in this status: queued, started, completed, failed, cancelled.", show_default=False),
    ] = "",
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tasks of a run, or show one. Example: stepgres run tasks RUN --step fetch --index 0"""
    if status and status not in {"queued", "started", "completed", "failed", "cancelled"}:
        raise usage(f"--status: {status!r} is unknown; it is queued, started, completed, failed or cancelled.")
    if index is not None and not step:
        raise usage("--index: of which step? Name it with --step.")
    with connect(target) as client:
        run_id = resolve_run_id(client, run_id)
        if index is not None:
            task = client.get_task(run_id, step, index)
            if output is not Output.TABLE:
                print_json(task.to_dict(), output)
            else:
                print_task(task)
            return
        page = client.list_tasks(run_id, step=step, status=status or None, page_size=limit, page_token=page_token)
    if output is not Output.TABLE:
        print_list("tasks", (task.to_dict() for task in page), page.next_page_token, output)
        return
    print_tasks(page.items)
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


@app.command()
def cancel(
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Shown to people.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a run: queued tasks go, workers are told to stop leased ones. A run that has ended stays as it is."""
    with connect(target) as client:
        run_id = resolve_run_id(client, run_id)
        cancelled = client.cancel_run(run_id, reason=reason)
    if output is not Output.TABLE:
        print_json({"run_id": run_id, "cancelled": cancelled}, output)
        return
    print(f"run {run_id}: {'cancelled' if cancelled else 'had ended before'}")


@app.command()
def retry(
    run_ids: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids of the runs, or unique parts of them.", autocompletion=complete_run),
    ],
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let failed or cancelled runs go on: what is finished stays, the rest starts again with all its attempts.

    A run that is started stays as it is; one that has completed is refused.
    """
    answers = []
    with connect(target) as client:
        for run_id in [resolve_run_id(client, text) for text in run_ids]:
            retried = client.retry_run(run_id)
            answers.append({"run_id": run_id, "retried": retried})
            if output is Output.TABLE:
                print(f"run {run_id}: {'goes on' if retried else 'was started already'}")
    if output is not Output.TABLE:
        print_list("runs", answers, "", output)
