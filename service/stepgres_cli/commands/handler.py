"""`stepgres handler list`: the catalogue of what workers serve now."""

from __future__ import annotations

from typing import Annotated

import typer

from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import print_list, print_table

app = typer.Typer(no_args_is_help=True, help="See what workers serve.")


@app.callback()
def group() -> None:
    """See what workers serve."""


@app.command("list")
def list_handlers(
    prefix: Annotated[str, typer.Option(help="Only names that begin so.", show_default=False)] = "",
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the handlers that are served now; with `--output json` their JSON Schemas too."""
    with connect(target) as client:
        page = client.list_handlers(page_size=limit, page_token=page_token, name_prefix=prefix)
    if output is not Output.TABLE:
        print_list("handlers", (handler.to_dict() for handler in page), page.next_page_token, output)
        return
    print_table(
        ("handler", "scope", "workers", "used by", "description"),
        (
            (h.name, h.scope, h.session_count, _used_by(h.steps, h.step_count), h.description.partition("\n")[0])
            for h in page
        ),
        empty="no worker serves anything now; start one with `stepgres worker run MODULE:ATTR`.",
    )
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


def _used_by(steps: tuple[str, ...], count: int) -> str:
    return ", ".join(steps[:3]) + (f" and {count - 3} more" if count > 3 else "")
