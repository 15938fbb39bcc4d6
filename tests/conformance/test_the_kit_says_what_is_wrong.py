"""Usage: what is no worker ends with exit code 2 and says why; what fails is told with its rule."""

from __future__ import annotations

import shlex
import sys
import time

import pytest

from tests.conformance.kit import PYTHON_WORKER, planted, run_kit


def test_a_command_that_does_not_exist_is_a_fault_of_usage() -> None:
    ended = run_kit(("/nowhere/worker",), "--only", "hello-fields")
    assert ended.returncode == 2
    assert "COMMAND: /nowhere/worker: there is no such program" in ended.stderr
    assert ended.stdout == ""


def test_a_command_that_ends_before_it_connects_is_a_fault_of_usage() -> None:
    ended = run_kit((sys.executable, "-c", "print('no such module'); raise SystemExit(3)"), "--only", "hello-fields")
    assert ended.returncode == 2
    assert "ended with 3 before it asked for tasks" in ended.stderr
    assert "no such module" in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_command_that_never_connects_is_a_fault_of_usage() -> None:
    begun = time.monotonic()
    ended = run_kit((sys.executable, "-c", "input() if False else __import__('time').sleep(600)"))
    assert ended.returncode == 2
    assert "did not ask for tasks within" in ended.stderr
    assert time.monotonic() - begun < 200, "it waited for the command's own end"


def test_words_that_name_no_point_are_refused() -> None:
    ended = run_kit(planted("none"), "--only", "nonsense")
    assert ended.returncode == 2
    assert "no point is named like 'nonsense'" in ended.stderr


@pytest.mark.timeout(300)
def test_people_read_the_rule_that_is_broken_and_what_was_seen() -> None:
    ended = run_kit(planted("loses_precision"), "--only", "numbers-exact texts-exact", "--stop")
    assert ended.returncode == 1, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("FAILED  numbers-exact")
    assert lines[1].strip() == "R3.2: 9007199254740993 came back as 9007199254740992.0"
    assert lines[2].startswith("skipped texts-exact")
    assert lines[-1] == "0 passed, 1 failed, 1 skipped; broken rules of docs/protocol.md: R3.2"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_script_that_keeps_sigterm_from_the_worker_is_told_to_exec() -> None:
    ended = run_kit(("/bin/sh", "-c", f"{shlex.join(PYTHON_WORKER)}; exit $?"), "--only", "stop-idle")
    assert ended.returncode == 1, ended.stderr
    assert "without Goodbye: SIGTERM itself has ended it; a command that starts the worker" in ended.stdout
    assert "must hand SIGTERM on, or `exec` it" in ended.stdout
