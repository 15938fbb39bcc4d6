"""The options that many commands share, each with one name and one help text."""

from __future__ import annotations

import socket
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stepgres_cli.errors import unreachable, usage

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


#: Where the SDK looks too when it is told nothing.
DEFAULT_TARGET = "127.0.0.1:50051"

Target = Annotated[
    str | None,
    typer.Option("--target", envvar="STEPGRES_TARGET", help="Coordinator, host:port.", show_default=DEFAULT_TARGET),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or for programs.")]
PageSize = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="List at most so many.")]


def connect(target: str | None, *, timeout_s: float = 30.0) -> Client:
    """A client of the coordinator; use it in a `with` block.

    Args:
        target: its address; None = the one that `stepgres dev` serves.
        timeout_s: deadline of each call, in seconds.

    Raises:
        CliError: the address is none, or nobody listens there. Asked here and not left to the first call, since the client would try again
            until its deadline, and a person who forgot to start a coordinator should not wait for that.
    """
    from stepgres_worker import Client

    address = target or DEFAULT_TARGET
    try:
        client = Client(address, timeout_s=timeout_s)
    except ValueError as error:
        raise usage(f"--target or STEPGRES_TARGET: {str(error).removeprefix('target: ')}.") from error
    probe(address)
    return client


def probe(address: str) -> None:
    """Raises CliError when nobody listens at host:port; other forms of addresses are left to the first call."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host and host.count(":") == 0:  # not dns:///…, ipv4:a:1,b:2, [::1]:1
        try:
            socket.create_connection((host, int(port)), timeout=5.0).close()
        except OSError as error:
            raise unreachable(address, error.strerror or str(error)) from error
