"""The polyglot demo: one run whose steps are served by workers in Python, Go and TypeScript at once.

    python polyglot.py [FOLDER]        # this repository without one

Ends with 1 when the report differs from the same thing computed in Python alone, when a step was never seen running or
was served by another language than it should, or when a process is left over; with 2 when a toolchain is missing.
Everything it starts writes below .stepgres/ of the repository.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import toolchains
import words
from flow import LANGUAGES, SLUG, STEPS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepgres_cli.watching import make_view, watch
from stepgres_service.dev import EmbeddedPostgres
from stepgres_worker import Client, RunSnapshot

HERE = Path(__file__).resolve().parent
_REPOSITORY = HERE.parents[2]
# The parts of the other demo: where it writes, the coordinator, the processes.
sys.path.insert(0, str(HERE.parent / "code_report"))
import demo  # noqa: E402
from fleet import Fleet, descendants, left_over  # noqa: E402

_console = Console(highlight=False, emoji=False)


def main() -> int:
    """Run it; returns the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("folder", nargs="?", default=str(_REPOSITORY), help="a folder of texts")
    source = str(Path(options.parse_args().folder).resolve())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.interrupt)
    started = time.monotonic()
    folder = demo.make_folder()
    try:
        toolchains.check()
        show(source, folder)
    except KeyboardInterrupt:
        _console.print(Text("stopped", "dim"))
        return 130
    except (demo.Failed, toolchains.Missing, OSError, RuntimeError) as error:
        _console.print(Text.assemble(("demo failed: ", "bold red"), str(error)))
        return 2 if isinstance(error, toolchains.Missing) else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _console.print(Text.assemble(("demo passed", "bold green"), f" in {time.monotonic() - started:.0f} s"))
    return 0


def show(source: str, folder: Path) -> None:
    """Build and start everything, run the flow, stop everything, and look whether something is left."""
    texts = words.read_texts(source)
    if not texts:
        raise demo.Failed(f"{source}: no texts there; name another folder")
    _console.print(
        Text.assemble(("stepgres polyglot demo", "bold"), f"  counts the words of {len(texts)} texts of {source}")
    )
    _console.print(Text("PostgreSQL, one coordinator, and a worker each in Python, Go and TypeScript\n", "dim"))
    with _console.status("building the workers"):
        commands = toolchains.build(folder)
    known: list[psutil.Process] = []
    try:
        fleet = Fleet(folder)
        with EmbeddedPostgres(folder / "postgres", ephemeral=True) as postgres:
            try:
                target = demo.start_coordinator(fleet, postgres)
                with Client(target) as client:
                    run_flow(client, fleet, source, target, commands)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # a second one would only leave something behind
                known = descendants()
                fleet.stop()
    finally:
        left = left_over(known)
    if left:
        raise demo.Failed(f"processes {left} are left over")
    _console.print(Text(f"{len(known)} processes were started and have ended", "dim"))


def run_flow(client: Client, fleet: Fleet, source: str, target: str, commands: dict[str, list[str]]) -> None:
    """The run, from its start without any worker to the comparison."""
    client.create_flow(SLUG, STEPS, timeout_s=60)
    run = client.start_run(SLUG, {"folder": source})
    seen: set[str] = set()

    def each(snapshot: RunSnapshot) -> None:
        if not seen:  # the run waits for its first worker: so every step is seen from its start
            start_workers(fleet, target, commands)
        fleet.check()
        seen.update(demo.running_steps(snapshot))

    last = watch(run.watch(full=True), make_view(), each)
    if last.output_json is None:
        error = last.error
        raise demo.Failed(f"run {last.run_id} {last.status}" + (f": {error.step}: {error.message}" if error else ""))
    unseen = set(last.steps) - seen
    if unseen:
        raise demo.Failed(f"steps {sorted(unseen)} were never seen running")
    served = languages(client, last)
    if served != {step: {language} for step, language in LANGUAGES.items()}:
        raise demo.Failed(f"the steps were served by {served}, expected was {LANGUAGES}")
    report = last.output["report"]
    print_steps(last)
    print_report(report)
    compare(source, report)


def start_workers(fleet: Fleet, target: str, commands: dict[str, list[str]]) -> None:
    """Start a worker of each language; each bears its language's name."""
    if len(fleet.children) > 1:
        return
    fleet.start(
        "python", "worker", "run", "flow:worker", cwd=HERE, STEPGRES_TARGET=target, STEPGRES_WORKER_NAME="python"
    )
    for language, command in commands.items():
        fleet.run(
            language,
            sys.executable,
            str(HERE / "leash.py"),
            *command,
            STEPGRES_TARGET=target,
            STEPGRES_WORKER_NAME=language,
        )


def languages(client: Client, run: RunSnapshot) -> dict[str, set[str]]:
    """Who executed the tasks of each step, as the engine wrote it down."""
    found: dict[str, set[str]] = {step: set() for step in run.steps}
    token = ""
    while True:
        page = client.list_tasks(run.run_id, page_size=1000, page_token=token)
        for task in page:
            found[task.step].add(task.worker)
        token = page.next_page_token
        if not token:
            return found


def compare(source: str, report: dict[str, Any]) -> None:
    """Compute the same in this process alone, and fail on a difference."""
    plain = words.summarise([words.score(words.count(text)) for text in words.read_texts(source)])
    if plain != report:
        wrong = [name for name in plain if plain[name] != report.get(name)]
        raise demo.Failed(f"the report differs from the plain computation in {wrong}")
    _console.print("equal to the same computed by Python alone")


def print_steps(run: RunSnapshot) -> None:
    """Which language did what."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("step")
    table.add_column("language")
    table.add_column("tasks", justify="right")
    table.add_column("took", justify="right")
    for step in run.steps.values():
        assert step.start_time is not None
        assert step.end_time is not None
        took = (step.end_time - step.start_time).total_seconds()
        table.add_row(step.step, LANGUAGES[step.step], f"{step.counts.completed:,}", f"{took:.2f} s")
    _console.print()
    _console.print(table)


def print_report(report: dict[str, Any]) -> None:
    """What the flow found out."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for name in ("words", "lines", "kind", "text"):
        table.add_column(name, justify="left" if name in ("kind", "text") else "right")
    for item in report["most_words"]:
        table.add_row(f"{item['words']:,}", f"{item['lines']:,}", item["kind"], Text(item["path"]))
    _console.print()
    _console.print(table)
    kinds = ", ".join(f"{number} {kind}" for kind, number in report["kinds"].items() if number)
    totals = report["totals"]
    _console.print(f"\n{report['texts']} texts ({kinds}), {totals['words']:,} words in {totals['lines']:,} lines")
    longest = report["longest"]
    _console.print(
        Text(f"longest word: {longest['word'][:40]} ({len(longest['word'])} characters, {longest['path']})\n")
    )


if __name__ == "__main__":
    sys.exit(main())
