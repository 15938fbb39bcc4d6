"""Builds the workers that are not written in Python, or says what is missing for that."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[3]
GO = _REPOSITORY / "examples" / "go" / "polyglot"
TYPESCRIPT = _REPOSITORY / "examples" / "typescript" / "polyglot"
_SDK = _REPOSITORY / "worker_sdk" / "typescript"
#: The oldest Node that runs the TypeScript SDK.
_NODE = (20,)


class Missing(Exception):
    """A program that the demo needs is not there; the text says how to get it."""


def check() -> None:
    """Looks for the programs.

    Raises:
        Missing: one is not there, or too old.
    """
    oldest = _version((GO / "go.mod").read_text(), r"^go (\d+)\.(\d+)")
    lacking = [
        *_lacks("go", ["go", "version"], r"go(\d+)\.(\d+)", oldest, "golang-go", "go"),
        *_lacks("node", ["node", "--version"], r"v(\d+)", _NODE, "nodejs npm", "node"),
        *_lacks("npm", ["npm", "--version"], r"(\d+)", (1,), "npm", "node"),
    ]
    if lacking:
        raise Missing("\n".join(lacking))


def build(folder: Path) -> dict[str, list[str]]:
    """Builds the workers and returns how to start each, by language; Go's program is put into `folder`."""
    program = folder / "count"
    _run(GO, "go", "build", "-o", str(program), ".")
    _run(_SDK, "sh", "scripts/build")
    if not (TYPESCRIPT / "node_modules" / "stepgres-worker").exists():
        _run(TYPESCRIPT, "npm", "ci", "--no-audit", "--no-fund", "--silent")
    _run(TYPESCRIPT, "npm", "run", "--silent", "build")
    return {"go": [str(program)], "typescript": ["node", str(TYPESCRIPT / "dist" / "score.js")]}


def _lacks(
    name: str, command: list[str], pattern: str, oldest: tuple[int, ...], debian: str, homebrew: str
) -> list[str]:
    wanted = f"{name} {'.'.join(map(str, oldest))} or newer"
    remedy = f"install it, such as by `apt-get install {debian}` or `brew install {homebrew}`"
    if shutil.which(name) is None:
        return [f"{wanted} is needed and {name} is not on the PATH; {remedy}"]
    # Outside of a module: inside, `go version` may fetch the version that the module asks for.
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/").stdout
    found = _version(said, pattern)
    return [] if found >= oldest else [f"{wanted} is needed and {name} is {said.strip()}; {remedy}"]


def _version(text: str, pattern: str) -> tuple[int, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else ()


def _run(folder: Path, *command: str) -> None:
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(
            f"{' '.join(command)} in {folder} ended with {answer.returncode}:\n{answer.stdout}{answer.stderr}"
        )
