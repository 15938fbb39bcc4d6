from __future__ import annotations

import signal
import socket

import pytest

from tests.acceptance.processes import REPOSITORY, STEPGRES, Running, start_dev, stepgres


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_a_signal_ends_everything_cleanly(number):
    dev, _ = start_dev()
    with dev:
        assert any("postgres" in member.name() for member in dev.family())
        assert dev.end(number) == 0, dev.output()
        assert "Traceback" not in dev.output()


@pytest.mark.slow
def test_a_kill_9_ends_the_database_too():
    dev, _ = start_dev()
    with dev:
        assert dev.end(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.slow
def test_a_connected_worker_does_not_hold_dev_up():
    dev, target = start_dev()
    hello = REPOSITORY / "examples" / "python" / "hello"
    with dev, Running(*STEPGRES, "worker", "run", "hello:worker", cwd=hello, STEPGRES_TARGET=target) as worker:
        worker.wait_for("connected")
        assert dev.end(signal.SIGINT) == 0, dev.output()
        assert "stopping … (Ctrl-C again to stop at once)" in dev.output()
        # It goes on looking for a coordinator until it is told to end.
        worker.wait_for("Trying again")
        assert worker.end(signal.SIGINT) == 0, worker.output()


@pytest.mark.slow
def test_data_is_kept_between_two_starts(state_folder):
    folder = state_folder / "some" / "where"
    for expected in (1, 0):
        with Running(*STEPGRES, "dev", "--data", str(folder), "--port", "0") as dev:
            target = dev.wait_for(r"ready at (\S+:\d+)").group(1)
            assert stepgres("health", "--wait", "30", target=target).returncode == 0
            assert stepgres("flow", "get", "kept", target=target).returncode == expected
            assert stepgres("flow", "create", "kept", "--step", "a", target=target).returncode == 0
            assert dev.end(signal.SIGINT) == 0


def test_a_taken_port_is_refused_before_anything_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = stepgres("dev", "--ephemeral", "--port", str(taken.getsockname()[1]))
    assert answer.returncode == 1
    assert "cannot be used (Address already in use); choose another port, or 0" in answer.stderr
