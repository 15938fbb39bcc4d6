"""Tests the tests: plants one fault at a time in a copy of this tree, and expects the test that is named for it to fail.

`python -m tests.sabotage [words]`: all faults, or those whose names hold one of the words. The last line is JSON; exit 1
when a fault was not caught. JOBS: faults at a time, 2 by default.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.sabotage.faults import FAULTS, Fault
from tests.support.cluster import open_cluster

ROOT = Path(__file__).resolve().parents[2]
#: Where the packages stand in a tree.
PACKAGES = ("service", "worker_sdk/python", "proto/gen", ".")
#: Seconds for one test; a fault that makes it hang has not been caught by an assertion.
TEST_S = 30


def main(words: Sequence[str]) -> int:
    """Plants the faults that the words name; prints a line for each. Returns the exit code."""
    faults = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    problems = [problem for fault in faults if (problem := problem_of(fault))]
    if problems or not faults:
        print("\n".join(problems) or f"no fault has {' or '.join(words)} in its name", file=sys.stderr)
        return 1
    begun = time.monotonic()
    # One server for all: durability and a start for each test would cost most of the time.
    with tempfile.TemporaryDirectory(prefix="sabotage-") as scratch, open_cluster(kind_of_server()) as cluster:
        os.environ["DATABASE_URL"] = cluster.admin_dsn
        red_before = red_without_a_fault(faults, Path(scratch))
        with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
            caught = list(pool.map(lambda fault: plant(fault, Path(scratch), red_before.get(fault.test)), faults))
    print(f"{time.monotonic() - begun:.0f} s")
    print(json.dumps({"planted": len(faults), "caught": sum(caught)}))
    return 0 if all(caught) else 1


def kind_of_server() -> str:
    """As for the tests: the developer's server if one is named, else the embedded one."""
    return "url" if os.environ.get("DATABASE_URL") else "embedded"


def problem_of(fault: Fault) -> str | None:
    """What is wrong with an entry of the table; None when it can be planted."""
    count = len(lines_of(fault, ROOT))
    if count != 1:
        return f"{fault.name}: {fault.file} has {count} lines {fault.old!r}; name one that it has exactly once"
    path, _, function = fault.test.partition("::")
    if not (ROOT / path).exists() or f"def {function}(" not in (ROOT / path).read_text(encoding="utf-8"):
        return f"{fault.name}: there is no test {fault.test}; name one that is there"
    if sum(other.name == fault.name for other in FAULTS) > 1:
        return f"{fault.name}: two faults are called so; rename one"
    return None


def lines_of(fault: Fault, tree: Path) -> list[int]:
    """Where the old line stands in a tree."""
    lines = (tree / fault.file).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines) if line.strip() == fault.old]


# ---------------------------------------------------------------------------------------------------------- copies


def copy_to(tree: Path) -> None:
    """Copies what git knows, and what it would take: changes count before they are committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)


def spoil(fault: Fault, tree: Path) -> None:
    """Puts the new line in the place of the old one, as far to the right."""
    file = tree / fault.file
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    (number,) = lines_of(fault, tree)
    lines[number] = lines[number].replace(fault.old, fault.new)
    file.write_text("".join(lines), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ runs


def run_tests(tree: Path, tests: Sequence[str], *options: str) -> dict[str, Any] | str:
    """What the witness of a run in a copy wrote; a text when there was no verdict."""
    file = tree.with_suffix(".json")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(tree / package) for package in PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.sabotage.witness"]
    # By a signal: it fails the test and leaves a report, where a thread would end the process without one.
    command += ["--witness", str(file), "--timeout", str(TEST_S), "-o", "timeout_method=signal", *options, *tests]
    ended = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["passed"] or found["failures"]:
            return found
    return f"pytest gave no verdict and ended with {ended.returncode}:\n{ended.stdout[-4000:]}"


def red_without_a_fault(faults: Sequence[Fault], scratch: Path) -> dict[str, str]:
    """The named tests that do not pass as things are, each with the reason."""
    tree = scratch / "clean"
    copy_to(tree)
    tests = sorted({fault.test for fault in faults})
    found = run_tests(tree, tests, "-n", "2")
    if isinstance(found, str):
        raise SystemExit(found)
    red = {failure["test"].partition("[")[0]: failure["error"] for failure in found["failures"]}
    green = {test.partition("[")[0] for test in found["passed"]}
    print(f"{len(green - red.keys())} of {len(tests)} tests are green without a fault", flush=True)
    return {test: red.get(test, "it was not run") for test in tests if test in red or test not in green}


def plant(fault: Fault, scratch: Path, red_before: str | None) -> bool:
    """Plants a fault in a copy of its own and prints whether its test caught it."""
    if red_before is None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            tree = Path(folder) / "tree"
            copy_to(tree)
            spoil(fault, tree)
            caught, why = verdict_on(run_tests(tree, [fault.test], "-x"))
    else:
        caught, why = False, f"its test is red without it: {red_before}"
    text = why if len(why) <= 120 or not caught else f"{why[:119]}…"
    print(f"{'caught' if caught else 'MISSED'}  {fault.name}  ({fault.test})\n        {text}", flush=True)
    return caught


def verdict_on(found: dict[str, Any] | str) -> tuple[bool, str]:
    """Whether a run shows that a test has caught a fault, and the error or what is missing."""
    if isinstance(found, str):
        return False, found
    if not found["failures"]:
        return False, "the test is green with it"
    failure = found["failures"][0]
    if failure["when"] in ("collect", "setup"):
        return False, f"the test could not begin: {failure['error']}"
    if failure["broken"]:
        return False, f"the fault does not run: {failure['error']}"
    return True, failure["error"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
