"""The worker of each SDK that `make conformance` judges and `make bench ARGS=sdks` measures: how it is built and started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PYTHON, _GO, _TYPESCRIPT = (_ROOT / "worker_sdk" / name for name in ("python", "go", "typescript"))


class Missing(Exception):
    """A toolchain is not there."""


def python_worker(_folder: Path) -> list[str]:
    """The worker of the SDK that is installed in this environment."""
    return [sys.executable, str(_PYTHON / "conformance" / "worker.py")]


def go_worker(folder: Path) -> list[str]:
    """Compiled: `go run` would not hand SIGTERM on."""
    _need("go", _GO / "conformance" / "main.go")
    worker = folder / "go-worker"
    subprocess.run(["go", "build", "-o", str(worker), "./conformance"], cwd=_GO, check=True)
    return [str(worker)]


def typescript_worker(_folder: Path) -> list[str]:
    """Compiled into the SDK's dist."""
    _need("node", _TYPESCRIPT / "conformance" / "worker.ts")
    _need("npm", _TYPESCRIPT / "package-lock.json")
    if not (_TYPESCRIPT / "node_modules" / ".bin" / "tsc").exists():
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=_TYPESCRIPT, check=True
        )
    subprocess.run(["npm", "run", "--silent", "build"], cwd=_TYPESCRIPT, check=True)
    return ["node", "--enable-source-maps", str(_TYPESCRIPT / "dist" / "conformance" / "worker.js")]


def _need(program: str, source: Path) -> None:
    if not source.exists():
        raise Missing(f"there is no {source.relative_to(_ROOT)}")
    if shutil.which(program) is None:
        raise Missing(f"no {program} on the path; install it to judge this SDK")


WORKERS: dict[str, Callable[[Path], list[str]]] = {
    "python": python_worker,
    "go": go_worker,
    "typescript": typescript_worker,
}
