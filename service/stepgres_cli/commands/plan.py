"""`stepgres flow apply|schema|graph|stats`: flows as files, drawings and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepgres_cli.completion import complete_flow
from stepgres_cli.errors import Exit, say, usage
from stepgres_cli.flowfile import apply_plan, read_plan
from stepgres_cli.options import Output, OutputOption, Target, connect
from stepgres_cli.output import counted, elapsed, print_json, print_table, seconds

if TYPE_CHECKING:
    from stepgres_cli.graph import Node
    from stepgres_worker import Client, FlowInfo, RunSnapshot, Validation

File = Annotated[str, typer.Option("--file", "-f", help="The flow as JSON or YAML; - reads stdin.")]


class By(StrEnum):
    """What `flow stats` groups by."""

    VERSION = "version"
    STATUS = "status"


class GraphForm(StrEnum):
    """How `flow graph` draws."""

    TEXT = "text"
    MERMAID = "mermaid"


def apply(
    files: Annotated[
        list[str], typer.Option("--file", "-f", help="The flow as JSON or YAML; - reads stdin; repeat it.")
    ],
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make flows as their files say: created when new, a new version where the shape differs, else left alone.

    Runs stay on the version they started with. Example: stepgres flow apply -f etl.yaml
    """
    plans = [(path, _named(path)) for path in files]
    with connect(target) as client:
        for path, plan in plans:
            _print_applied(apply_plan(client, path, plan, new_version=True), output)


def _print_applied(flow: FlowInfo, output: Output) -> None:
    if output is not Output.TABLE:
        print_json(flow.to_dict(), output)
    elif not flow.created:
        print(f"flow {flow.slug} v{flow.version}: unchanged")
    else:
        print(f"flow {flow.slug} v{flow.version}: {'created' if flow.version == 1 else 'new version'}")


def _named(path: str) -> dict[str, Any]:
    plan = read_plan(path)
    if not plan.get("slug"):
        raise usage(f"{path}: slug: missing; name the flow, or run it as it is with `stepgres run plan`.")
    return plan


def validate(
    file: File,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Print the file with every fix of an error applied, as JSON; faults go to standard error."
        ),
    ] = False,
    inline: Annotated[
        bool, typer.Option("--inline", help="It is a plan for `run plan`: without slug, handlers named like steps.")
    ] = False,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say everything that is wrong with a flow file, and what to do. Stores nothing.

    0 it is valid, 1 it is not, 2 it cannot be read as an object in JSON or YAML.
    """
    plan = read_plan(file)
    with connect(target) as client:
        found = client.validate_flow(plan, inline=inline)
    fixed = _mended(plan, found) if fix else None
    if output is not Output.TABLE:
        print_json(found.to_dict() | ({"fixed": fixed} if fix else {}), output)
    else:
        _print_validation(file, found, to_people=fix)
    if not inline and not plan.get("slug"):
        say("It has no slug: as a plan for `stepgres run plan` it is checked with --inline.")
    if fix and output is Output.TABLE:
        print_json(fixed, Output.JSON)
    if not found.ok:
        raise typer.Exit(Exit.REFUSED)


def _mended(plan: dict[str, Any], found: Validation) -> Any:
    from stepgres_worker import apply_patch

    return apply_patch(plan, found.fix)


def _print_validation(file: str, found: Validation, *, to_people: bool) -> None:
    tell = say if to_people else print
    for violation in found.violations:
        tell(f"error: {violation.message}{' [fix]' if violation.fix else ''}")
    for warning in found.warnings:
        # Without the mark: --fix leaves alone what a worker that starts tomorrow may serve.
        tell(f"warning: {warning.message}")
    if found.ok:
        tell(f"{file}: valid, {counted(len(found.warnings), 'warning')}")
    elif not to_people:
        fixed = sum(bool(violation.fix) for violation in found.violations)
        tell(f"{file}: {counted(len(found.violations), 'error')}, of which --fix mends {fixed}")


def schema(
    inline: Annotated[bool, typer.Option("--inline", help="Of a plan for StartRun: without slug and version.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="For a model's structured output: every field required, null = not given."),
    ] = False,
) -> None:
    """Print the JSON Schema of flow files; give it to an editor, or to a model that writes plans."""
    from stepgres_cli.planschema import plan_schema

    print(json.dumps(plan_schema(inline=inline, strict=strict), ensure_ascii=False, indent=2))


def graph(
    flow: Annotated[
        str | None,
        typer.Argument(metavar="FLOW", help="Slug; needed without --file.", autocompletion=complete_flow),
    ] = None,
    *,
    file: Annotated[str | None, typer.Option("--file", "-f", help="A flow file instead; - reads stdin.")] = None,
    version: Annotated[int, typer.Option(min=0, help="Version.", show_default="the latest")] = 0,
    form: Annotated[GraphForm, typer.Option("--form", help="For the terminal, or for documents.")] = GraphForm.TEXT,
    target: Target = None,
) -> None:
    """Draw a flow. Example: stepgres flow graph ai --form mermaid"""
    from stepgres_cli.graph import draw, mermaid

    if (flow is None) == (file is None):
        raise usage("FLOW: name a flow, or give a file with --file; one of the two.")
    nodes = _nodes_of_file(file) if file is not None else _nodes_of_flow(str(flow), version, target)
    print((mermaid if form is GraphForm.MERMAID else draw)(nodes) or "(no steps)")


def _nodes_of_file(path: str) -> list[Node]:
    from stepgres_cli.graph import Node

    steps = read_plan(path).get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) and step.get("slug") for step in steps):
        raise usage(f"--file: {path}: steps: a list of steps, each with a slug, is needed; `flow validate` says more.")
    return [
        Node(
            str(step["slug"]),
            tuple(map(str, depends_on)) if isinstance(depends_on := step.get("depends_on"), list) else (),
            step.get("step_type") in ("map", "STEP_TYPE_MAP"),
            step.get("handler") or "",
        )
        for step in steps
    ]


def _nodes_of_flow(slug: str, version: int, target: str | None) -> list[Node]:
    from stepgres_cli.graph import Node

    with connect(target) as client:
        flow: FlowInfo = client.get_flow(slug, version=version)
    own = f"{flow.slug}."
    return [
        Node(
            step.slug,
            tuple(step.depends_on),
            step.step_type == "map",
            "" if step.handler == own + step.slug else step.handler,
        )
        for step in flow.steps
    ]


def stats(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Slug of the flow.", autocompletion=complete_flow)],
    by: Annotated[By, typer.Option("--by", help="What to group the runs by.")] = By.VERSION,
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="Look at the newest so many runs.")] = 1000,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count a flow's newest runs and how long they took: p50 and p95 of those that completed."""
    with connect(target) as client:
        client.get_flow(flow)  # a misspelt slug is an error, not an empty table
        runs = _newest(client, flow, last)
    key: Callable[[RunSnapshot], Any] = (lambda r: r.version) if by is By.VERSION else (lambda r: r.status.value)
    groups: dict[Any, list[RunSnapshot]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    rows = [_figures(by, name, groups[name]) for name in sorted(groups)]
    if output is not Output.TABLE:
        print_json({"flow": flow, "runs": len(runs), "groups": rows}, output)
        return
    print_table(
        (by.value, "runs", "active", "completed", "failed", "cancelled", "p50", "p95"),
        (
            (row[by.value], row["count"], row["active"], row["completed"], row["failed"], row["cancelled"],
             seconds(row["p50_s"]), seconds(row["p95_s"]))
            for row in rows
        ),
        empty=f"flow {flow} has no runs yet; start one with `stepgres run start {flow}`.",
    )  # fmt: skip
    if len(runs) == last:
        print(f"of the newest {last} runs; more with --last N")


def _newest(client: Client, flow: str, count: int) -> list[RunSnapshot]:
    runs: list[RunSnapshot] = []
    token = ""
    while len(runs) < count:
        page = client.list_runs(flow=flow, page_size=min(1000, count - len(runs)), page_token=token)
        runs += page
        token = page.next_page_token
        if not token:
            break
    return runs


def _figures(by: By, name: Any, runs: Sequence[RunSnapshot]) -> dict[str, Any]:
    counts = {
        status: sum(run.status.value == status for run in runs) for status in ("completed", "failed", "cancelled")
    }
    took = sorted(
        duration
        for run in runs
        if run.status.value == "completed" and (duration := elapsed(run.start_time, run.end_time)) is not None
    )
    return {
        by.value: name,
        "count": len(runs),
        "active": len(runs) - sum(counts.values()),
        **counts,
        "p50_s": percentile(took, 0.5),
        "p95_s": percentile(took, 0.95),
    }


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that is not exceeded by `share` of the values (nearest rank); None without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
