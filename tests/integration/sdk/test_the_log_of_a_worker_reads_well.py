"""What somebody who starts a worker sees on standard error: its handlers' failures and its connection, nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import textwrap

from stepgres_service.config import Settings
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient

SCRIPT = """
    import logging
    from stepgres_worker import Flow, TaskError, Worker
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    flow = Flow("etl", max_attempts=2, base_delay_s=0)
    @flow.step
    def fetch(input):
        return 1 / input["run"]["n"]
    @flow.step
    async def tell(input):
        raise TaskError("said it all", code="SAID", retryable=False)
    Worker(flow, name="w1").run()
"""


async def test_failures_and_outages_and_nothing_else(database: str, unused_tcp_port: int) -> None:
    listen = f"127.0.0.1:{unused_tcp_port}"
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(SCRIPT),
        env={**environment, "STEPGRES_TARGET": listen},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    seen: list[str] = []

    async def line(pattern: str) -> str:
        """The next line that matches."""
        assert process.stderr is not None
        while text := (await process.stderr.readline()).decode().rstrip("\n"):
            seen.append(text)
            if re.search(pattern, text):
                return text
        raise AssertionError(f"the worker ended without {pattern}: {seen}")

    try:
        async with asyncio.timeout(60):
            assert await line("Trying again") == (
                f"WARNING worker w1: no coordinator answers at {listen} (connection refused). Does `stepgres dev` or "
                "`stepgres serve` run there? Set STEPGRES_TARGET to the host:port of one, or start one: `stepgres dev` "
                "serves 127.0.0.1:50051. Trying again until one answers."
            )
            first = Coordinator(Settings(database_url=database, listen=listen))
            await first.start()
            connected = await line("is connected to")
            assert connected.startswith(f"INFO worker w1 is connected to {listen} (coordinator ")
            assert connected.endswith("): 2 handlers, up to 100 tasks at a time")
            async with AsyncClient(listen) as client:
                run = await client.start_run("etl", {"n": 0})
                failed = rf"of run {run.id}: attempt"
                one, two = sorted([await line(failed), await line(failed)], key=lambda text: "tell" in text)
                assert "etl.fetch[0]" in one
                assert "attempt 1 of 2 failed, retryable: HANDLER_ERROR: ZeroDivisionError: division by zero" in one
                assert two.endswith(
                    "etl.tell[0] of run " + run.id + ": attempt 1 of 2 failed, not retryable: SAID: said it all"
                )
            await first.stop(0.2)
            await line("the connection to .* is lost|no coordinator answers")
            again = Coordinator(Settings(database_url=database, listen=listen))
            await again.start()
            try:
                await line("is connected again to|has moved to")
                process.terminate()
                rest = (await process.stderr.read()).decode().splitlines()
                assert await process.wait() == 0
            finally:
                await again.stop(0.2)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Tracebacks apart every line is the log's: gRPC's core writes its own, with its own time stamps.
    ours = re.compile(r"(INFO|WARNING) |Traceback|  |ZeroDivisionError|\s*\^*$")
    assert [text for text in seen + rest if not ours.match(text)] == []
    assert sum("Traceback" in text for text in seen) <= 1
    assert not any("goaway" in text.lower() for text in seen + rest)


async def test_a_verbosity_that_the_user_has_set_stays() -> None:
    source = "import os, stepgres_worker; print(os.environ['GRPC_VERBOSITY'])"
    for environment, expected in (({}, "NONE"), ({"GRPC_VERBOSITY": "INFO"}, "INFO")):
        bare = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, env={**bare, **environment}, stdout=asyncio.subprocess.PIPE
        )
        assert (await process.communicate())[0].decode().strip() == expected
