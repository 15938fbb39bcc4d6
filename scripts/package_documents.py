"""What `make package` does with the documents: every program of README, guide and examples, in an empty folder.

Usage: package_documents.py REPOSITORY STEPGRES, in the folder and with the Python of the installed wheels.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: Programs of examples/python/dynamic, with arguments in the words of their README.
_EXAMPLES = ("etl.py", "tenants.py", "ab_test.py", "plan_repair.py", "agents.py")


def main() -> int:
    """Return 0 when each of them ends with 0 and says nothing on standard error."""
    repository, stepgres = Path(sys.argv[1]), Path(sys.argv[2])
    readme = (repository / "README.md").read_text()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        empty = Path(folder).resolve()
        empty.chmod(0o711)  # the server runs as another user when this one is root
        _readme(readme, empty, stepgres)
    guide = _blocks("python", (repository / "docs" / "dynamic-workflows.md").read_text())
    target = _free_target()
    environment = {**os.environ, "STEPGRES_TARGET": target, "STEPGRES_LISTEN": target}
    dev = subprocess.Popen(
        [stepgres, "dev", "--ephemeral"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        subprocess.run([stepgres, "health", "--wait", "60"], env=environment, check=True, timeout=90)
        with tempfile.TemporaryDirectory(dir=".") as folder:
            empty = Path(folder).resolve()
            (empty / "guide.py").write_text("\n".join(guide))
            sources = repository / "examples" / "python" / "dynamic"
            for name in _EXAMPLES:
                (empty / name).write_text((sources / name).read_text())
            _program("guide.py", [], empty, environment)
            (empty / "notes").mkdir()
            (empty / "notes" / "note.md").write_text("two words\n")
            for name in _EXAMPLES:
                _program(name, ["notes", "notes.sqlite"] if name == "etl.py" else [], empty, environment)
    finally:
        dev.terminate()
        dev.wait(60)
    return 0


def _readme(readme: str, empty: Path, stepgres: Path) -> None:
    """The quickstart as it is written, but for the lines that set up the repository."""
    hello = empty / "examples" / "python" / "hello"
    hello.mkdir(parents=True)
    (hello / "hello.py").write_text(_blocks("python", readme)[0])
    script = next(block for block in _blocks("sh", readme) if "stepgres dev" in block)
    script = re.sub(r"^make setup && .*\n", "", script)
    target = _free_target()
    environment = {
        **os.environ,
        "PATH": f"{stepgres.parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(empty / "state"),
        "STEPGRES_TARGET": target,
        "STEPGRES_LISTEN": target,
    }
    done = subprocess.run(
        ["bash", "-ec", f"{script}wait\n"], cwd=empty, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    if "Hello, Ada! Hello, Grace! Hello, Barbara!" not in done.stdout or "Traceback" in done.stderr:
        raise SystemExit(f"the quickstart of README.md does not work:\n{done.stdout}\n{done.stderr}")
    print("README.md: the quickstart works")


def _program(name: str, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, name, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    if done.returncode or done.stderr or not done.stdout:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    print(f"{name}: {done.stdout.splitlines()[-1]}")


def _blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _free_target() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
