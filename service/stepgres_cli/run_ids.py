"""Ids of runs as people type them: whole, or as much of the beginning or the end as is unique among recent runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from stepgres_cli.errors import usage

if TYPE_CHECKING:
    from stepgres_worker import Client

_PART = re.compile(r"[0-9a-f-]{4,35}")
#: Newest runs among which a part of an id is looked for.
_RECENT = 1000


def resolve_run_id(client: Client, text: str) -> str:
    """The whole id.

    The end counts as well as the beginning: the beginnings of runs that start together are alike (UUIDv7 begins with
    the time).

    Raises:
        CliError: it is no part of an id, or of none or several of the newest 1,000 runs.
    """
    try:
        return str(UUID(text))
    except ValueError:
        pass
    part = text.lower()
    if not _PART.fullmatch(part):
        raise usage(f"RUN: {text!r} is no run id; give it whole, or 4 or more characters of its beginning or end.")
    recent = [run.run_id for run in client.list_runs(page_size=_RECENT)]
    found = [run_id for run_id in recent if run_id.startswith(part) or run_id.endswith(part)]
    if not found:
        raise usage(f"RUN: none of the newest {len(recent)} runs has an id like {text!r}; give the whole id.")
    if len(found) > 1:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise usage(f"RUN: {text!r} fits {len(found)} runs: {shown}; give more characters.")
    return found[0]
