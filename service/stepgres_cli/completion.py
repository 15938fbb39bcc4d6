"""What a shell offers for FLOW and RUN after Tab: names that the coordinator knows. Without one, nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from stepgres_cli.options import connect

if TYPE_CHECKING:
    from stepgres_worker import Client

T = TypeVar("T")

#: A person waits for it, and a shell shows no error.
_TIMEOUT_S = 2.0
_MOST = 100


def complete_flow(ctx: typer.Context, incomplete: str) -> list[str]:
    """Slugs that begin with what is typed."""
    return _asked(ctx, lambda client: [f.slug for f in client.list_flows(slug_prefix=incomplete, page_size=_MOST)])


def complete_run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest runs that begin with what is typed, each with its flow and status."""
    return _asked(
        ctx,
        lambda client: [
            (run.run_id, f"{run.flow} {run.status.value}")
            for run in client.list_runs(page_size=_MOST)
            if run.run_id.startswith(incomplete)
        ],
    )


def _asked(ctx: typer.Context, question: Callable[[Client], list[T]]) -> list[T]:
    """What the coordinator answers that the command line, or the environment, names; nothing when it does not."""
    # Whatever is raised would be printed into the line that a person types.
    with contextlib.suppress(Exception), connect(ctx.params.get("target"), timeout_s=_TIMEOUT_S) as client:
        return question(client)
    return []
