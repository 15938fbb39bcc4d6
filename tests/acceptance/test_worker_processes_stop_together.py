from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.processes import STEPGRES, Running

IMPORTING = """
import time

print("importing", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP))],
)
def test_processes_that_are_still_importing_end_as_asked(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "slow.py").write_text(IMPORTING)
    command = [*STEPGRES, "worker", "run", "slow:worker", "--processes", "2"]
    with Running(*command, cwd=tmp_path) as worker:
        worker.wait_for("(?s)importing.*importing")
        assert worker.end(number) == 0, worker.output()
        assert "error" not in worker.output()


def test_a_process_that_somebody_else_ends_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(IMPORTING)
    command = [*STEPGRES, "worker", "run", "slow:worker", "--processes", "2"]
    with Running(*command, cwd=tmp_path) as worker:
        worker.wait_for("(?s)importing.*importing")
        worker.family()[1].terminate()
        worker.wait_for("error: a worker process ended with -15; the others are stopping.")
        assert worker.process.wait(60) == 1, worker.output()
