"""`stepgres conformance` as a person or a program calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.processes import REPOSITORY, STEPGRES, environment

#: The Python SDK's conformance worker.
PYTHON_WORKER = (sys.executable, str(REPOSITORY / "worker_sdk" / "python" / "conformance" / "worker.py"))
#: Longest run of the whole kit, every wait in it at its end.
_LIMIT_S = 900.0


def planted(fault: str) -> tuple[str, ...]:
    """The command of the worker with a fault."""
    return (sys.executable, "-m", "tests.conformance.planted", fault)


def run_kit(command: tuple[str, ...], *options: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Judges the worker of a command; returns how that ended."""
    return subprocess.run(
        [*STEPGRES, "conformance", *options, "--", *command],
        capture_output=True, text=True, timeout=_LIMIT_S, cwd=cwd, env=environment(), check=False,
    )  # fmt: skip


def judged(command: tuple[str, ...], *options: str) -> dict[str, Any]:
    """The object that the kit ends with, when its exit code agrees with it."""
    ended = run_kit(command, "--output", "json", *options)
    assert ended.returncode in (0, 1), ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == (1 if answer["failed"] else 0)
    assert answer["passed"] + answer["failed"] + answer["skipped"] == len(answer["points"])
    return answer


def broken(answer: dict[str, Any]) -> dict[str, str]:
    """Failed points -> the rule that each names."""
    return {point["id"]: point["rule"] for point in answer["points"] if point["status"] == "failed"}
