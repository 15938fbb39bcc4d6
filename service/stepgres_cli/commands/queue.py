"""`stepgres queue list`: runnable work, and what nobody serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import print_list, print_table, seconds

if TYPE_CHECKING:
    from stepgres_worker import QueueInfo

app = typer.Typer(no_args_is_help=True, help="See the work that waits.")


@app.callback()
def group() -> None:
    """See the work that waits."""


@app.command("list")
def list_queues(
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the queues: runnable tasks, age of the oldest, handlers that nobody serves."""
    with connect(target) as client:
        page = client.list_queues(page_size=limit, page_token=page_token)
    if output is not Output.TABLE:
        print_list("queues", (queue.to_dict() for queue in page), page.next_page_token, output)
        return
    print_table(
        ("queue", "tasks", "oldest", "nobody serves"),
        ((q.queue, _depth(q), seconds(q.oldest_age_s) if q.depth else "", _unserved(q)) for q in page),
        empty="no queues yet; a flow gets one when it is created.",
    )
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


def _depth(queue: QueueInfo) -> str:
    return f"about {queue.depth}" if queue.depth_is_estimate else str(queue.depth)


def _unserved(queue: QueueInfo) -> str:
    shown = [route.handler + (f" (scope {route.scope})" if route.scope else "") for route in queue.unserved_routes[:3]]
    more = queue.unserved_route_count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
