"""Real processes for acceptance tests: `stepgres …` as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
STEPGRES = [sys.executable, "-m", "stepgres_cli"]
#: Long enough for a machine that is busy with other tests.
PATIENCE_S = 60.0


def environment(**changes: str) -> dict[str, str]:
    """Ours, with `stepgres` of this environment first on the path, and no setting of the developer's shell."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STEPGRES_", "PG"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', os.defpath)}"
    return {**clean, "PATH": path, "PYTHONUNBUFFERED": "1", **changes}


def stepgres(*args: str, target: str = "", cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `stepgres …` to its end."""
    env = environment(**({"STEPGRES_TARGET": target} if target else {}))
    return subprocess.run(
        [*STEPGRES, *args], capture_output=True, text=True, timeout=PATIENCE_S, cwd=cwd, env=env, check=False, **options
    )


class Running:
    """A process in a session of its own whose output goes to a file; leave the `with` block and it is gone."""

    def __init__(self, *command: str, cwd: Path | None = None, **env: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
            cwd=cwd, env=environment(**env),
        )  # fmt: skip

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        self._log.close()

    def output(self) -> str:
        """What it has printed so far."""
        # By offset, not by seek: the child's descriptor shares its position with ours.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed this."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.output())
            if match:
                found.append(match)
            assert found or self.process.poll() is None, f"it ended early:\n{self.output()}"
            return bool(found)

        until(look, lambda: f"no {pattern!r} in:\n{self.output()}")
        return found[0]

    def family(self) -> list[psutil.Process]:
        """It and everything below it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def end(self, number: int) -> int:
        """Send a signal, wait for the end, and return the exit code; fails when anything below it lives on."""
        family = self.family()
        self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            for member in family:
                member.kill()
            raise AssertionError(f"it did not end:\n{self.output()}") from None
        _, alive = psutil.wait_procs(family, timeout=15)
        for member in alive:
            member.kill()
        assert not alive, f"left over: {alive}"
        return code


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait for a condition on something outside of this process, which gives no signal."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)


def start_dev(**env: str) -> tuple[Running, str]:
    """`stepgres dev --ephemeral` on a free port, and its address once it serves."""
    dev = Running(*STEPGRES, "dev", "--ephemeral", "--port", "0", **env)
    try:
        target = dev.wait_for(r"ready at (\S+:\d+)").group(1)
        assert stepgres("health", "--wait", "30", target=target).returncode == 0, dev.output()
    except BaseException:
        dev.__exit__()
        raise
    return dev, target
