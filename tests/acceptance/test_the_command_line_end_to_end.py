"""One `stepgres dev`, one worker, and every exit code, each in a process of its own as a person would type it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.processes import REPOSITORY, STEPGRES, Running, start_dev, stepgres, until

HELLO = REPOSITORY / "examples" / "python" / "hello"


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    dev, address = start_dev()
    with dev:
        yield address


@pytest.fixture(scope="module")
def worker(target: str) -> Iterator[Running]:
    with Running(*STEPGRES, "worker", "run", "hello:worker", cwd=HELLO, STEPGRES_TARGET=target) as running:
        until(lambda: stepgres("flow", "get", "hello", target=target).returncode == 0, running.output)
        yield running


def test_a_flow_made_by_the_command_line_runs_on_the_example_worker(target, worker):
    made = stepgres("flow", "create", "hello", "--map", "greet", "--step", "card:greet", target=target)
    assert made.returncode == 0, made.stderr
    answer = stepgres("run", "start", "hello", '["Ada", "Grace"]', "--watch", target=target)
    assert answer.returncode == 0, answer.stderr
    assert '"card": "Hello, Ada! Hello, Grace!"' in answer.stdout
    assert "greet  completed  2/2" in answer.stdout


def test_programs_get_json(target, worker):
    answer = stepgres("run", "start", "hello", "[]", "--watch", "--output", "json", target=target)
    assert json.loads(answer.stdout)["output"] == {"card": ""}
    listed = stepgres("run", "list", "--flow", "hello", "--output", "jsonl", target=target)
    assert {json.loads(line)["flow"] for line in listed.stdout.splitlines()} == {"hello"}


def test_refusals_end_with_1(target):
    gone = stepgres("run", "start", "nobody", target=target)
    assert gone.returncode == 1
    assert "reason: FLOW_NOT_FOUND" in gone.stderr
    wrong = stepgres("flow", "create", "f", "--step", "a:b", "--map", "c:a,b", target=target)
    assert wrong.returncode == 1
    assert "steps[0].depends_on[0]" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_usage_ends_with_2(target):
    assert stepgres("run", "start", "hello", "{", target=target).returncode == 2


def test_a_failed_run_ends_with_3(target, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from stepgres_worker import Flow, TaskError\n"
        "flow = Flow('broken')\n"
        "@flow.step\n"
        "def fail(input):\n"
        "    raise TaskError('no money', code='BROKE', retryable=False)\n"
    )
    with Running(*STEPGRES, "worker", "run", "broken:flow", cwd=tmp_path, STEPGRES_TARGET=target) as running:
        until(lambda: stepgres("flow", "get", "broken", target=target).returncode == 0, running.output)
        answer = stepgres("run", "start", "broken", "--watch", target=target)
    assert answer.returncode == 3
    assert "error: fail[0]: no money (attempt 1)\nreason: BROKE\n" in answer.stderr


def test_a_cancelled_run_ends_with_4(target):
    assert stepgres("flow", "create", "waiting", "--step", "nobody_serves", target=target).returncode == 0
    run_id = stepgres("run", "start", "waiting", target=target).stdout.strip()
    watching = Running(*STEPGRES, "run", "watch", run_id, STEPGRES_TARGET=target)
    with watching:
        watching.wait_for("nobody_serves  started")
        cancelled = stepgres("run", "cancel", run_id, "--reason", "enough", target=target)
        assert cancelled.stdout == f"run {run_id}: cancelled\n"
        assert watching.process.wait(30) == 4


def test_nobody_there_ends_with_5():
    # Port 9 (discard) is never a coordinator's.
    answer = stepgres("flow", "list", target="127.0.0.1:9")
    assert answer.returncode == 5
    assert "stepgres dev" in answer.stderr


def test_a_worker_ends_cleanly_on_ctrl_c_and_on_sigterm(target):
    for number in (signal.SIGINT, signal.SIGTERM):
        with Running(*STEPGRES, "worker", "run", "hello:worker", cwd=HELLO, STEPGRES_TARGET=target) as running:
            running.wait_for("connected")
            assert running.end(number) == 0, running.output()


def test_several_worker_processes_end_together(target):
    command = [*STEPGRES, "worker", "run", "hello:worker", "--processes", "2"]
    with Running(*command, cwd=HELLO, STEPGRES_TARGET=target) as running:
        until(lambda: running.output().count("connected") == 2, running.output)
        assert running.end(signal.SIGINT) == 0, running.output()


def test_killing_the_parent_of_worker_processes_ends_them(target):
    command = [*STEPGRES, "worker", "run", "hello:worker", "--processes", "2"]
    with Running(*command, cwd=HELLO, STEPGRES_TARGET=target) as running:
        until(lambda: running.output().count("connected") == 2, running.output)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
