"""A Go worker, a process of its own, whose coordinator is killed in the middle of a run and started again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from stepgres_service.dev.process import free_port
from stepgres_worker import AsyncClient, Step
from tests.acceptance.processes import PATIENCE_S, Running
from tests.acceptance.system import LONG_LEASE
from tests.chaos.cluster import coordinator, until_ready
from tests.languages.golang import SDK, go, need_go

ITEMS = 3_000


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_killed_coordinators_cost_a_go_worker_nothing(database: str, tmp_path: Path) -> None:
    need_go()
    binary, port = tmp_path / "worker", free_port()
    await asyncio.to_thread(go, "build", "-o", str(binary), "./conformance", cwd=SDK)
    serving = coordinator(1, port, database, tmp_path, LONG_LEASE)
    serving.start()
    await until_ready([serving])
    env = {"STEPGRES_TARGET": f"127.0.0.1:{port}", "STEPGRES_CONFORMANCE_DIR": str(tmp_path)}
    try:
        with Running(str(binary), STEPGRES_CONFORMANCE_HANDLERS="count", **env) as worker:
            async with AsyncClient(f"127.0.0.1:{port}", timeout_s=PATIENCE_S) as client:
                run = await client.start_run(plan=[Step("count", step_type="map")], input=list(range(ITEMS)))
                for part in (1, 2):
                    async with asyncio.timeout(PATIENCE_S):
                        while len(executed(tmp_path)) < part * ITEMS // 4:
                            await asyncio.sleep(0.01)
                    serving.kill()
                    serving.start()
                    await until_ready([serving])
                output = (await run.result(timeout=PATIENCE_S))["count"]
            worker.process.send_signal(signal.SIGTERM)
            assert worker.process.wait(PATIENCE_S) == 0, worker.output()
            assert "resumed=true" in worker.output()
        # Each is recorded once and, since every session was resumed, executed once.
        assert sorted(output) == list(range(1, ITEMS + 1))
        assert sorted(executed(tmp_path)) == sorted(f"count {run.id}:count:{index}" for index in range(ITEMS))
    finally:
        serving.stop()


def executed(folder: Path) -> list[str]:
    """What the handler wrote down."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []
