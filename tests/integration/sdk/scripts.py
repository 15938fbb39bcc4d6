"""Scripts as users write them, run in processes of their own against a coordinator of the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import textwrap
from collections.abc import AsyncIterator

from stepgres_service.server import Coordinator


def environment(coordinator: Coordinator) -> dict[str, str]:
    """The target by environment, as in production."""
    return {**os.environ, "STEPGRES_TARGET": f"127.0.0.1:{coordinator.port}"}


async def run_script(coordinator: Coordinator, source: str, *, timeout_s: float = 60) -> str:
    """Runs a script to its end; its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(source),
        env=environment(coordinator),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


@contextlib.asynccontextmanager
async def running_script(coordinator: Coordinator, source: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A script that runs until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(source),
        env=environment(coordinator),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
