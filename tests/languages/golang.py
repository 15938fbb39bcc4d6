"""Go and the Go SDK, where they can be had."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.processes import REPOSITORY, environment

SDK = REPOSITORY / "worker_sdk" / "go"
MODULE = "github.com/stepgres/stepgres/worker_sdk/go"


def need_go() -> None:
    """Skips the test, visibly, where no Go is that can compile the SDK."""
    go = shutil.which("go")
    oldest = _release((SDK / "go.mod").read_text(), r"^go (\d+)\.(\d+)")
    if go is None:
        pytest.skip(f"no go on the PATH; install Go {oldest[0]}.{oldest[1]} or newer")
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    if _release(version, r"go(\d+)\.(\d+)") < oldest:
        pytest.skip(f"{version.strip()}: the Go SDK needs {oldest[0]}.{oldest[1]} or newer")


def go(*arguments: str, cwd: Path) -> str:
    """Runs the command to its end and returns what it printed; fails with all of it when the command does."""
    answer = subprocess.run(
        ["go", *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def _release(text: str, pattern: str) -> tuple[int, int]:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, text
    return int(found[1]), int(found[2])
