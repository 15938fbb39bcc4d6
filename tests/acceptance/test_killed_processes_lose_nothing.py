"""kill -9 and SIGSTOP of workers and coordinators, with real processes; a separate checker judges what is left."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.acceptance.system import LONG_LEASE, SHORT_LEASE, system
from tests.chaos.cluster import signal_all, until_ready


@pytest.mark.slow
async def test_a_killed_workers_tasks_run_elsewhere(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, settings=LONG_LEASE) as running:
        run = await running.start_gated(40)
        killed, other = running.busiest_first()
        held = len(running.executions(killed))
        killed.kill()
        # Though the lease is long: its stream broke, and the grace is 2 s.
        await running.until(lambda: len(running.executions(other)) == 40)
        running.gate.touch()
        assert len((await run.result(timeout=60))["each"]) == 40
        findings = await running.finish()
        assert findings.executed_twice == held
        assert {entry["attempt"] for entry in running.executions()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("gate_opens", ["while it sleeps", "when it is awake"])
async def test_a_worker_that_sleeps_past_its_lease_changes_nothing(
    database: str, tmp_path: Path, gate_opens: str
) -> None:
    async with system(database, tmp_path, settings=SHORT_LEASE) as running:
        run = await running.start_gated(20)
        asleep, other = running.busiest_first()
        held = {entry["by"] for entry in running.executions(asleep)}
        signal_all(asleep.processes(), signal.SIGSTOP)
        await running.until(lambda: len(running.executions(other)) == 20)
        if gate_opens == "while it sleeps":
            # Its handlers return when it wakes, and their results come too late.
            running.gate.touch()
            await run.result(timeout=60)
            signal_all(asleep.processes(), signal.SIGCONT)
        else:
            signal_all(asleep.processes(), signal.SIGCONT)
            await running.until(lambda: held == {entry["by"] for entry in running.entries("cancelled")})
            running.gate.touch()
        output = (await run.result(timeout=60))["each"]
        assert held.isdisjoint(element["by"] for element in output)
        # It works again, and what was recorded stays.
        await running.start_diamonds(50)
        findings = await running.finish()
        assert findings.executed_twice == len(held)


async def test_a_killed_coordinators_workers_go_on_elsewhere_and_repeat_nothing(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, settings=LONG_LEASE) as running:
        run = await running.start_gated(20)
        await running.start_diamonds(300)
        await running.until(lambda: len(running.executions()) > 400)
        running.coordinators[0].kill()
        await running.start_diamonds(100)
        running.gate.touch()
        await run.result(timeout=60)
        findings = await running.finish()
        assert (findings.executed_twice, findings.runs) == (0, 401)


@pytest.mark.slow
async def test_rolling_restarts_execute_each_task_once(database: str, tmp_path: Path) -> None:
    async with system(database, tmp_path, settings=LONG_LEASE) as running:
        under_way = True

        async def load() -> int:
            batches = 0
            while under_way:
                await running.start_diamonds(20)
                batches += 1
            return batches

        loading = asyncio.create_task(load())
        for node in (*running.coordinators, *running.workers):
            begun = len(running.executions())
            await running.until(lambda begun=begun: len(running.executions()) > begun + 200)
            await asyncio.to_thread(node.stop)
            node.start()
            await until_ready([node] if node in running.coordinators else [])
        under_way = False
        runs = 20 * await loading
        findings = await running.finish()
        assert (findings.executed_twice, findings.runs, findings.tasks) == (0, runs, 4 * runs)
        assert len(running.executions()) == 4 * runs
