"""Runs the scenarios that are named, by default diamond and paths; the last line is one JSON object."""

from __future__ import annotations

import argparse
import os

from bench.figures import Effort, Figures, Target
from bench.scenarios import SCENARIOS
from bench.stack import assert_durable, commit_cost_ms, running_stack

#: What a change to the hot path has to be held against; everything takes more than an hour.
_DEFAULT = ("diamond", "paths")


def main() -> None:
    """Measures, and prints a table for people and a line for programs."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    listed = "\n".join(
        f"  {name:<10} {(module.__doc__ or '').partition(': ')[2]}" for name, module in SCENARIOS.items()
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{listed}"
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help="one of those below; `all` = each of them")
    names = parser.parse_args().scenario or _DEFAULT
    unknown = [name for name in names if name not in (*SCENARIOS, "all")]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}, and all")
    chosen = SCENARIOS if "all" in names else {name: SCENARIOS[name] for name in names}
    effort = Effort(quick=os.environ.get("QUICK", "") not in ("", "0"))
    targets: dict[str, Target] = {
        key: target for module in SCENARIOS.values() for key, target in module.TARGETS.items()
    }
    figures = Figures(targets)
    with running_stack() as stack:
        server = assert_durable(stack.dsn)
        commit_ms = commit_cost_ms(stack.dsn)
    print(
        f"{server}, {os.cpu_count()} cores, fsync and synchronous_commit on; a durable commit takes {commit_ms:.2f} ms"
    )
    for name, module in chosen.items():
        print(f"\n{name}", flush=True)
        module.run(effort, figures)
    print(f"\n{figures.table()}")
    if effort.quick:
        print("\nQUICK: one short round; quote figures of a full run only")
    about = {"quick": effort.quick, "rounds": effort.rounds, "commit_ms": round(commit_ms, 3), "server": server}
    print(figures.json(about))


if __name__ == "__main__":
    main()
