"""Makes each peer's own environment from its lock: nothing of theirs comes near ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.stack import ROOT, log_folder

_HERE = Path(__file__).resolve().parent
#: Where the environments are kept.
FOLDER = ROOT / ".tools" / "peers"


class NotMeasured(Exception):
    """A peer that could not be run here; the message says why and where to look."""


def python_of(peer: str) -> Path:
    """The interpreter of the peer's environment, which is made when it is not there or its lock has changed.

    Raises:
        NotMeasured: the environment cannot be made, for example without a package registry.
    """
    lock, folder = _HERE / f"{peer}.lock", FOLDER / peer
    stamp, python = folder / "stamp", folder / "bin" / "python"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).parent / "uv"
    log = log_folder() / f"peer-{peer}-environment.log"
    with log.open("wb") as output:
        for command in (
            ["venv", "--quiet", "--no-config", "--python", sys.executable, folder],
            ["pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", python, lock],
        ):
            if subprocess.run([uv, *command], stdout=output, stderr=output, check=False).returncode:
                raise NotMeasured(f"its environment cannot be made; see {log}")
    shutil.copyfile(lock, stamp)
    return python
