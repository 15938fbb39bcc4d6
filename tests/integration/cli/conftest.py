"""The command line as a process of its own, against a real coordinator."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from stepgres_service.server import Coordinator


@dataclass(frozen=True)
class Said:
    """What a command said, and the code it ended with."""

    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Said]]


async def start_cli(coordinator: Coordinator, *words: str) -> asyncio.subprocess.Process:
    """Starts `stepgres WORDS…` with pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stepgres_cli", *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "STEPGRES_TARGET": f"127.0.0.1:{coordinator.port}"},
    )  # fmt: skip


@pytest.fixture
def cli(coordinator: Coordinator) -> Cli:
    """Runs `stepgres WORDS…` against the coordinator: `await cli("flow", "list", stdin="…")`."""

    async def run(*words: str, stdin: str = "") -> Said:
        process = await start_cli(coordinator, *words)
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    return run
