from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.processes import STEPGRES, Running, start_dev, stepgres

MODULE = """
from stepgres_worker import Flow, Worker

flow = Flow("greet")
flow.step(slug="say")(lambda input: {word!r})
worker = Worker(flow)
"""


def said(target: str) -> str:
    answer = stepgres("run", "start", "greet", "{}", "--watch", "--output", "jsonl", target=target)
    assert answer.returncode == 0, answer.stderr
    return str(json.loads(answer.stdout.splitlines()[-1])["output"]["say"])


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_change_of_the_code_starts_the_worker_again_and_a_mistake_waits_for_the_next(
    tmp_path: Path, processes: int
) -> None:
    module = tmp_path / "greeting.py"
    module.write_text(MODULE.format(word="hello"))
    dev, target = start_dev()
    command = [*STEPGRES, "worker", "run", "greeting:worker", "--reload", "--processes", str(processes)]
    with dev, Running(*command, cwd=tmp_path, STEPGRES_TARGET=target) as worker:
        worker.wait_for("connected")
        assert said(target) == "hello"
        module.write_text("this is no Python")
        worker.wait_for("SyntaxError")
        module.write_text(MODULE.format(word="good morning"))
        assert said(target) == "good morning"
        assert worker.end(signal.SIGINT) == 0, worker.output()
