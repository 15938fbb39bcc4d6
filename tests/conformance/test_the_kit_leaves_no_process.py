"""Whatever ends the kit, the database, the coordinator and the worker under test end with it."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.acceptance.processes import STEPGRES, Running
from tests.conformance.kit import PYTHON_WORKER


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(number: signal.Signals) -> None:
    with Running(*STEPGRES, "conformance", "--only", "hello-fields progress", "--", *PYTHON_WORKER) as kit:
        kit.wait_for("hello-fields")
        family = kit.family()
        assert any("worker.py" in " ".join(process.cmdline()) for process in family)
        assert any("postgres" in process.name() for process in family)
        kit.process.send_signal(number)
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()
        assert not alive
