"""The options that many commands share, each with one name and one help text."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepgres_worker import Client


class Output(StrEnum):
    """How a command answers on standard output."""

    #: For people.
    TABLE = "table"
    #: One indented JSON document.
    JSON = "json"
    #: One JSON document a line: an item of a list, a frame of a watch.
    JSONL = "jsonl"


Target = Annotated[
    str | None,
    typer.Option("--target", envvar="STEPGRES_TARGET", help="Coordinator, host:port.", show_default="127.0.0.1:50051"),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or for programs.")]
PageSize = Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most so many.")]


def connect(target: str | None) -> Client:
    """A client of the coordinator; use it in a `with` block. Nothing is sent before the first call."""
    from stepgres_worker import Client

    return Client(target)
