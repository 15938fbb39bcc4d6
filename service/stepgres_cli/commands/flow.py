"""`stepgres flow …`: define flows, look at them, delete them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepgres_cli.completion import complete_flow
from stepgres_cli.errors import usage
from stepgres_cli.flowfile import apply_plan, parse_step, read_plan
from stepgres_cli.inputs import read_object
from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import local_time, print_facts, print_json, print_list, print_table

if TYPE_CHECKING:
    from stepgres_worker import FlowInfo, StepInfo

app = typer.Typer(no_args_is_help=True, help="Define flows, look at them, delete them.")

Slug = Annotated[str, typer.Argument(metavar="FLOW", help="Slug of the flow.", autocompletion=complete_flow)]
MaxAttempts = Annotated[int | None, typer.Option(min=1, max=1000, help="Failures until a task fails for good.")]
Timeout = Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="How long an attempt may take.")]
BaseDelay = Annotated[int | None, typer.Option(metavar="SECONDS", min=0, help="Delay before the first retry.")]
MaxDelay = Annotated[int | None, typer.Option(metavar="SECONDS", min=0, help="Longest delay between retries.")]
Queue = Annotated[str, typer.Option(help="Name of a shared queue instead of the flow's own.", show_default=False)]


@app.command()
def create(
    slug: Annotated[str | None, typer.Argument(metavar="FLOW", help="Slug; needed without --file.")] = None,
    *,
    step: Annotated[list[str] | None, typer.Option(metavar="SLUG[:DEP,DEP]", help="A single step; repeat it.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="SLUG[:DEP]", help="A map step, over DEP's output or the run input; repeat it."),
    ] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The flow as JSON or YAML; - reads stdin.")] = None,
    max_attempts: MaxAttempts = None,
    timeout: Timeout = None,
    base_delay: BaseDelay = None,
    max_delay: MaxDelay = None,
    queue: Queue = "",
    new_version: Annotated[bool, typer.Option("--new-version", help="A new version where the shape differs.")] = False,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a flow: with its steps, from a file, or empty for `add-step`. The same again changes nothing.

    Example: stepgres flow create ai --step fetch --map double:fetch --step save:double
    """
    typed = [*(parse_step(text, "single") for text in step or ()), *(parse_step(text, "map") for text in map_ or ())]
    if file is not None and typed:
        raise usage("--step and --map: the steps come from --file; give one or the other.")
    options = {
        "slug": slug, "max_attempts": max_attempts, "timeout_s": timeout, "base_delay_s": base_delay,
        "max_delay_s": max_delay, "queue": queue or None,
    }  # fmt: skip
    body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if file is not None:
        body = {**read_plan(file), **body}
        new_version = new_version or body.get("new_version") is True
    if not body.get("slug"):
        raise usage("FLOW: missing; name the flow on the command line or as `slug` in the file.")
    with connect(target) as client:
        if file is None:
            flow = client.create_flow(str(body.pop("slug")), typed, **body, new_version=new_version)
        else:
            flow = apply_plan(client, file, body, new_version=new_version)
    if output is not Output.TABLE:
        print_json(flow.to_dict(), output)
        return
    print(f"flow {flow.slug} v{flow.version}: {'created' if flow.created else 'exists with this shape already'}")
    _print_steps(flow)


@app.command("add-step")
def add_step(
    flow: Slug,
    slug: Annotated[str, typer.Argument(metavar="STEP", help="Slug of the new step.")],
    *,
    depends_on: Annotated[
        list[str] | None, typer.Option(metavar="DEP[,DEP]", help="Steps whose outputs it needs; repeat or use commas.")
    ] = None,
    map_: Annotated[bool, typer.Option("--map", help="One task for each element of an array.")] = False,
    initial_tasks: Annotated[int | None, typer.Option(min=0, help="Promised length of a map's array.")] = None,
    handler: Annotated[str, typer.Option(help="Handler that executes it.", show_default="FLOW.STEP")] = "",
    params: Annotated[str, typer.Option(metavar="JSON", help="Constants for the handler: JSON, @FILE or -.")] = "{}",
    max_attempts: MaxAttempts = None,
    timeout: Timeout = None,
    base_delay: BaseDelay = None,
    max_delay: MaxDelay = None,
    queue: Queue = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Append a step to a flow's latest version. The same again changes nothing; runs that started do not see it."""
    names = [name.strip() for text in depends_on or () for name in text.split(",")]
    if not all(names):
        raise usage("--depends-on: an empty name; write --depends-on a,b.")
    constants = read_object(params, "--params")
    with connect(target) as client:
        added = client.add_step(
            flow, slug, depends_on=names, step_type="map" if map_ else "single", initial_tasks=initial_tasks,
            handler=handler, params=constants, max_attempts=max_attempts, timeout_s=timeout,
            base_delay_s=base_delay, max_delay_s=max_delay, queue=queue,
        )  # fmt: skip
    if output is not Output.TABLE:
        print_json(added.to_dict(), output)
        return
    print(f"step {flow}.{added.slug}: number {added.step_index + 1} of the flow, served as {added.handler}")


@app.command("list")
def list_flows(
    prefix: Annotated[str, typer.Option(help="Only slugs that begin so.", show_default=False)] = "",
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List flows by slug, each in its latest version."""
    with connect(target) as client:
        page = client.list_flows(page_size=limit, page_token=page_token, slug_prefix=prefix)
    if output is not Output.TABLE:
        print_list("flows", (flow.to_dict() for flow in page), page.next_page_token, output)
        return
    print_table(
        ("flow", "version", "steps", "created"),
        ((flow.slug, flow.version, flow.step_count, flow.create_time) for flow in page),
        empty="no flows yet; make one with `stepgres flow create`.",
    )
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


@app.command()
def get(
    flow: Slug,
    version: Annotated[int, typer.Option(min=0, help="Version.", show_default="the latest")] = 0,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one version of a flow with its steps."""
    with connect(target) as client:
        found = client.get_flow(flow, version=version)
    if output is not Output.TABLE:
        print_json(found.to_dict(), output)
        return
    print_facts((
        ("flow", found.slug), ("version", f"{found.version} of {', '.join(map(str, found.versions))}"),
        ("attempts", found.max_attempts), ("timeout", f"{found.timeout_s} s"), ("queue", found.queue),
        ("created", local_time(found.create_time)),
    ))  # fmt: skip
    _print_steps(found)


@app.command()
def delete(
    flow: Slug,
    force: Annotated[bool, typer.Option("--force", help="Cancel its active runs first.")] = False,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a flow with all its versions, and hide its runs."""
    with connect(target) as client:
        cancelled = client.delete_flow(flow, force=force)
    if output is not Output.TABLE:
        print_json({"flow": flow, "cancelled_run_count": cancelled}, output)
        return
    print(f"flow {flow}: deleted" + (f", {cancelled} active runs cancelled" if cancelled else ""))


def _print_steps(flow: FlowInfo) -> None:
    if flow.steps:
        by_slug = {step.slug: step for step in flow.steps}
        order = [by_slug[slug] for slug in flow.topological_order] or list(flow.steps)
        print_table(("step", "type", "depends on", "handler", "params"), map(_row, order), empty="")


def _row(step: StepInfo) -> tuple[Any, ...]:
    return (
        step.slug,
        step.step_type,
        step.depends_on,
        step.handler,
        json.dumps(dict(step.params)) if step.params else "",
    )
