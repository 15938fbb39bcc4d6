from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Step, Worker
from tests.integration.cli.conftest import Cli, start_cli


@pytest.fixture
async def unlucky(coordinator: Coordinator) -> AsyncIterator[str]:
    """A run whose only task fails in every attempt; the second comes in 100 s."""
    target = f"127.0.0.1:{coordinator.port}"
    worker = Worker(target=target)

    @worker.step("f.a")
    async def a(input: Any) -> None:
        raise ConnectionError("the bank is closed")

    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient(target) as client:
        await client.create_flow("f", [Step("a", max_attempts=2, base_delay_s=200)])
        run = await client.start_run("f")
        async with asyncio.timeout(20):
            while (await client.get_task(run.id, "a")).attempt == 1:
                pass
        yield run.id
    worker.stop()
    await serving


async def test_a_waiting_retry_tells_why_it_waits(cli: Cli, unlucky: str) -> None:
    said = await cli("run", "get", unlucky)
    assert "a[0] failed in attempt 1 (HANDLER_ERROR: ConnectionError: the bank is closed); next try in" in said.out


async def test_a_watch_tells_it_once(cli: Cli, coordinator: Coordinator, unlucky: str) -> None:
    watching = await start_cli(coordinator, "run", "watch", unlucky)
    assert watching.stdout is not None
    seen = b""
    async with asyncio.timeout(30):
        while b"a[0] failed in attempt 1" not in seen:
            seen += await watching.stdout.readline()
    await cli("run", "cancel", unlucky)
    rest, _ = await watching.communicate()
    assert watching.returncode == 4
    assert b"failed in attempt" not in rest


async def test_a_failed_task_shows_the_attempts_it_had(cli: Cli, coordinator: Coordinator, unlucky: str) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("g", [Step("a", handler="f.a", max_attempts=1)])
        run = await client.start_run("g")
        _ = [snapshot async for snapshot in run.watch()]
    (task,) = json.loads((await cli("run", "tasks", run.id, "-o", "json")).out)["tasks"]
    assert (task["status"], task["attempt"]) == ("failed", 1)


async def test_tasks_are_listed_and_one_is_shown_with_its_attempts(cli: Cli, unlucky: str) -> None:
    listed = json.loads((await cli("run", "tasks", unlucky, "-o", "json")).out)["tasks"]
    assert [(task["step"], task["status"], task["attempt"]) for task in listed] == [("a", "queued", 2)]
    assert "a[0]" in (await cli("run", "tasks", unlucky, "--status", "queued")).out
    assert "no such tasks" in (await cli("run", "tasks", unlucky, "--status", "failed")).out
    shown = (await cli("run", "tasks", unlucky, "--step", "a", "--index", "0")).out
    assert "HANDLER_ERROR" in shown
    assert "Traceback" in shown
    assert "next try" in shown


@pytest.mark.parametrize("words", [["--index", "0"], ["--status", "lost"]])
async def test_wrong_filters_are_usage_errors(cli: Cli, words: list[str]) -> None:
    assert (await cli("run", "tasks", "0" * 32, *words)).code == 2
