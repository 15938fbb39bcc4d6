"""`stepgres queue list`: runnable work, and what nobody serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from stepgres_cli.options import Output, OutputOption, PageSize, Target, connect
from stepgres_cli.output import counted, print_list, print_table, seconds

if TYPE_CHECKING:
    from stepgres_worker import Client, QueueInfo

#: Queues in one answer of the coordinator.
_MAX_PAGE = 1000

app = typer.Typer(no_args_is_help=True, help="See the work that waits.")


@app.callback()
def group() -> None:
    """See the work that waits."""


@app.command("list")
def list_queues(
    show_all: Annotated[bool, typer.Option("--all", help="Empty queues too.")] = False,
    limit: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="From the page before.", show_default=False)] = "",
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the queues: runnable tasks, age of the oldest, handlers that nobody serves. Programs get empty queues too."""
    with connect(target) as client:
        if output is Output.TABLE and not show_all:
            _print_busy(_all_queues(client, page_token), limit)
            return
        page = client.list_queues(page_size=limit, page_token=page_token)
    if output is not Output.TABLE:
        print_list("queues", (queue.to_dict() for queue in page), page.next_page_token, output)
        return
    _print_queues(page, empty="no queues yet; a flow gets one when it is created.")
    if page.next_page_token:
        print(f"more with --page-token {page.next_page_token}")


def _all_queues(client: Client, page_token: str) -> Iterator[QueueInfo]:
    while True:
        page = client.list_queues(page_size=_MAX_PAGE, page_token=page_token)
        yield from page
        page_token = page.next_page_token
        if not page_token:
            return


def _print_busy(queues: Iterator[QueueInfo], limit: int) -> None:
    """Those with work, or with handlers that nobody serves; a count of the others."""
    busy: list[QueueInfo] = []
    hidden = 0
    for queue in queues:
        if queue.depth or queue.unserved_route_count:
            busy.append(queue)
        else:
            hidden += 1
    if busy or hidden:
        _print_queues(busy[:limit], empty="nothing waits.")
    else:
        _print_queues((), empty="no queues yet; a flow gets one when it is created.")
    if len(busy) > limit:
        print(f"{len(busy) - limit} more with --limit {len(busy)}" if len(busy) <= _MAX_PAGE else "more with --all")
    if hidden:
        print(f"{counted(hidden, 'empty queue')} hidden; --all shows {'it' if hidden == 1 else 'them'}")


def _print_queues(queues: Iterable[QueueInfo], *, empty: str) -> None:
    print_table(
        ("queue", "tasks", "oldest", "nobody serves"),
        ((q.queue, _depth(q), seconds(q.oldest_age_s) if q.depth else "", _unserved(q)) for q in queues),
        empty=empty,
    )


def _depth(queue: QueueInfo) -> str:
    return f"about {queue.depth}" if queue.depth_is_estimate else str(queue.depth)


def _unserved(queue: QueueInfo) -> str:
    shown = [route.handler + (f" (scope {route.scope})" if route.scope else "") for route in queue.unserved_routes[:3]]
    more = queue.unserved_route_count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
