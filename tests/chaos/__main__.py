"""`run` breaks a whole system and checks it; `check` judges a database and a journal. The last line is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.cluster import work_folder
from tests.chaos.drill import drill
from tests.chaos.schedule import KINDS

#: Violations of a kind that are told in words.
_EXAMPLES = 5


def main() -> int:
    """The commands."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start, load, break, settle, check")
    run.add_argument("--duration-s", type=int, default=60, help="seconds under load and faults (default 60)")
    run.add_argument("--seed", type=int, default=None, help="decides load and faults (default: one of its own)")
    run.add_argument("--keep", type=Path, default=None, help="make this folder, and leave data and logs in it")
    run.add_argument("--only", nargs="*", choices=[*KINDS], default=[], help="kinds of faults (default: all)")
    checking = commands.add_parser("check", help="judge a database in which nothing is under way")
    checking.add_argument("--dsn", required=True, help="of the database")
    checking.add_argument("--log", type=Path, required=True, help="what handlers and clients wrote down")
    given = parser.parse_args()
    if given.command == "run" and given.keep is not None and given.keep.exists():
        run.error(f"--keep: {given.keep} exists; name a folder that does not")
    if given.command == "check":
        return _check(given.dsn, given.log)
    return _run(int(time.time()) if given.seed is None else given.seed, given)


def _check(dsn: str, journal: Path) -> int:
    findings = check(dsn, journal)
    figures = {
        "runs": findings.runs,
        "tasks": findings.tasks,
        "executed_twice": findings.executed_twice,
        "violations": {kind: len(found) for kind, found in findings.violations.items()},
        "examples": {kind: found[:_EXAMPLES] for kind, found in findings.violations.items() if found},
    }
    print(json.dumps(figures))
    return 0 if findings.ok else 1


def _run(seed: int, given: argparse.Namespace) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Its handlers of forks crash in the child when PostgreSQL is started beside the load.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with work_folder(given.keep) as folder:
        try:
            report = asyncio.run(drill(given.duration_s, seed, folder, frozenset(given.only)))
        except KeyboardInterrupt:
            return 130
    for fault in report.faults():
        print(f"chaos: {fault}", file=sys.stderr)
    print(report.json())
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
