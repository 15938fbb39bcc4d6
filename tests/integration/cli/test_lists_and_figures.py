from __future__ import annotations

import asyncio
import json
from typing import Any

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Step, TaskError, Worker
from tests.integration.cli.conftest import Cli


async def until(cli: Cli, text: str, *words: str) -> str:
    """What a command says once it says this: lists may be a second old."""
    async with asyncio.timeout(20):
        while text not in (said := await cli(*words)).out:
            pass
    return said.out


async def test_the_catalogue_shows_who_serves_what_and_what_nobody_serves(cli: Cli, coordinator: Coordinator) -> None:
    target = f"127.0.0.1:{coordinator.port}"
    assert "no worker serves anything" in (await cli("handler", "list")).out
    assert "no worker is connected" in (await cli("worker", "list")).out
    worker = Worker(target=target, name="w-1")

    @worker.step("fetch_url")
    def fetch(input: Any) -> int:
        """Fetches a page.

        Slowly.
        """
        return 1

    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient(target) as client:
        await client.create_flow("f", [Step("a", handler="fetch_url"), Step("lonely")])
        await client.start_run("f", {})
    try:
        handlers = await until(cli, "fetch_url", "handler", "list")
        assert "f.a" in handlers
        assert "Fetches a page." in handlers
        assert "Slowly" not in handlers
        assert "fetch_url" in await until(cli, "w-1", "worker", "list")
        await until(cli, "f.lonely", "queue", "list")
        found = json.loads((await cli("handler", "list", "-o", "json")).out)
        assert found["handlers"][0]["name"] == "fetch_url"
    finally:
        worker.stop()
        await serving


async def test_stats_count_runs_by_version(cli: Cli, coordinator: Coordinator) -> None:
    target = f"127.0.0.1:{coordinator.port}"
    worker = Worker(target=target)

    @worker.step("f.a")
    async def a(input: Any) -> int:
        if input["run"] == 13:
            raise TaskError("unlucky", retryable=False)
        return 1

    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient(target) as client:
        await client.create_flow("f", [Step("a")])
        for number in (1, 2, 13):
            [_ async for _ in (await client.start_run("f", number)).watch()]
        await client.create_flow("f", [Step("a"), Step("b", depends_on=["a"])], new_version=True)
        await client.start_run("f", 1)
    worker.stop()
    await serving
    said = await cli("flow", "stats", "f", "-o", "json")
    first, second = json.loads(said.out)["groups"]
    assert (first["version"], first["count"], first["completed"], first["failed"]) == (1, 3, 2, 1)
    assert 0 <= first["p50_s"] <= first["p95_s"]
    assert (second["version"], second["count"], second["active"], second["p50_s"]) == (2, 1, 1, None)
    assert "p95" in (await cli("flow", "stats", "f")).out
    unknown = await cli("flow", "stats", "g")
    assert unknown.code == 1
    assert "FLOW_NOT_FOUND" in unknown.err


async def test_empty_queues_are_counted_and_shown_on_demand(cli: Cli, coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        for slug in ("busy", "idle", "idle_too"):
            await client.create_flow(slug, [Step("a")])
        await client.start_run("busy")
        names = {flow.slug: flow.queue for flow in await client.list_flows()}
    shown = await until(cli, "busy.a", "queue", "list")
    assert "2 empty queues hidden; --all shows them" in shown
    assert "idle" not in shown
    whole = (await cli("queue", "list", "--all")).out
    assert "idle_too" in whole
    assert "hidden" not in whole
    document = json.loads((await cli("queue", "list", "-o", "json")).out)
    assert len(document["queues"]) == len(names) == 3
