"""Node and the TypeScript SDK, where they can be had."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.processes import REPOSITORY, environment

SDK = REPOSITORY / "worker_sdk" / "typescript"
OLDEST = 20


def need_node() -> None:
    """Skips the test, visibly, where no Node is that can run the SDK."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"no node and npm on the PATH; install Node {OLDEST} or newer")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v\n").partition(".")[0]) < OLDEST:
        pytest.skip(f"node is {version.strip()}; the TypeScript SDK needs {OLDEST} or newer")


def build() -> None:
    """Installs what the lock pins, where that is not there yet, and compiles the SDK into dist."""
    run("sh", "scripts/build", cwd=SDK)


def run(*command: str, cwd: Path, timeout_s: float = 100, **env: str) -> str:
    """Runs a command to its end and returns what it printed; fails with all of it when the command does."""
    answer = subprocess.run(
        command, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def pinned(package: str) -> str:
    """`<package>@<version>`, as the SDK pins it for its own build."""
    manifest = json.loads((SDK / "package.json").read_text())
    return f"{package}@{manifest['devDependencies'][package]}"
