from __future__ import annotations

import shutil
import signal
import sys

import pytest

from tests.acceptance.processes import REPOSITORY, Running

DEMO = str(REPOSITORY / "examples" / "python" / "code_report" / "demo.py")
#: A few dozen real files.
SMALL = str(REPOSITORY / "worker_sdk")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_demos_run_side_by_side():
    with Running(sys.executable, DEMO, SMALL) as one, Running(sys.executable, DEMO, SMALL) as other:
        for demo in (one, other):
            assert demo.process.wait(200) == 0, demo.output()
            assert "demo passed" in demo.output()
            assert "20,000 tasks of 5,000 runs" in demo.output()
        folders = {f"demo-{demo.process.pid}" for demo in (one, other)}
    assert not [name for name in folders if (REPOSITORY / ".stepgres" / name).exists()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_stopped_demo_leaves_no_process(number):
    with Running(sys.executable, DEMO, SMALL) as demo:
        demo.wait_for("list_files")
        assert demo.end(number) == 130, demo.output()
        assert not (REPOSITORY / ".stepgres" / f"demo-{demo.process.pid}").exists()


@pytest.mark.slow
def test_a_killed_demo_leaves_no_process():
    with Running(sys.executable, DEMO, SMALL) as demo:
        demo.wait_for("list_files")
        assert demo.end(signal.SIGKILL) == -signal.SIGKILL
    # The next demo would remove it.
    shutil.rmtree(REPOSITORY / ".stepgres" / f"demo-{demo.process.pid}", ignore_errors=True)
