"""Connections between workers and coordinators that break, for less and for more than the worker's grace."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.system import LONG_LEASE, System, system
from tests.chaos.cluster import Node


def cut(running: System, node: Node) -> None:
    for connection in [found for found in running.balancer.connections if found.client == node.name]:
        connection.cut()


async def test_a_cut_shorter_than_the_grace_repeats_nothing(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, settings=LONG_LEASE | {"STEPGRES_RECONNECT_GRACE_MS": "60000"}) as running:
        run = await running.start_gated(40)
        for _ in range(5):
            for node in running.workers:
                cut(running, node)
            await running.start_diamonds(20)
        running.gate.touch()
        assert len((await run.result(timeout=60))["each"]) == 40
        findings = await running.finish()
        assert (findings.executed_twice, findings.runs) == (0, 101)


@pytest.mark.slow
async def test_after_a_longer_cut_the_late_results_change_nothing(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, settings=LONG_LEASE | {"STEPGRES_RECONNECT_GRACE_MS": "500"}) as running:
        run = await running.start_gated(40)
        away, other = running.busiest_first()
        held = {entry["by"] for entry in running.executions(away)}
        running.balancer.refused.add(away.name)
        cut(running, away)
        await running.until(lambda: len(running.executions(other)) == 40)
        running.balancer.refused.clear()
        # It learns that its tasks are somebody else's.
        await running.until(lambda: held == {entry["by"] for entry in running.entries("cancelled")})
        running.gate.touch()
        output = (await run.result(timeout=60))["each"]
        assert held.isdisjoint(element["by"] for element in output)
        findings = await running.finish()
        assert findings.executed_twice == len(held)


@pytest.mark.slow
async def test_a_client_notices_that_its_connection_leads_nowhere(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, coordinators=1, workers=0, settings=LONG_LEASE) as running:
        (connection,) = [found for found in running.balancer.connections if found.client == "client"]
        connection.half_open()
        # It would take a minute if nobody pinged, or if the ping were waited for as long as gRPC does by default.
        async with asyncio.timeout(45):
            assert not (await running.client.list_runs()).items
