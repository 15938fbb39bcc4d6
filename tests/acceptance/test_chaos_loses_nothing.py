from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.acceptance.processes import REPOSITORY, Running

CHAOS = (sys.executable, "-m", "tests.chaos", "run")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_system_that_is_killed_stopped_and_cut_off_loses_nothing():
    """`make chaos DURATION_S=20`, with another seed each time: SEED repeats one."""
    seed = ["--seed", os.environ["SEED"]] if os.environ.get("SEED") else []
    with Running(*CHAOS, "--duration-s", "20", *seed, cwd=REPOSITORY) as chaos:
        code = chaos.process.wait(280)
        assert code == 0, chaos.output()
        figures = json.loads(chaos.output().splitlines()[-1])
    assert (figures["lost"], figures["recorded_twice"], figures["stuck"], figures["deadlocks"]) == (0, 0, 0, 0)
    assert figures["kills"]["worker"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_ending_it_leaves_no_process(number, code, state_folder):
    with Running(*CHAOS, "--only", "worker", "--keep", str(state_folder / "kept"), cwd=REPOSITORY) as chaos:
        chaos.wait_for(r"chaos: seed \d+, 8 faults")
        assert chaos.end(number) == code, chaos.output()
