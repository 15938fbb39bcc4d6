"""The demo: PostgreSQL, a coordinator and two workers read a folder of sources, then 20,000 tasks that do nothing.

    python demo.py [FOLDER]        # the standard library of this Python without one

Ends with 1 when the report differs from the same thing computed without the engine, when a step was never seen
running, or when a process is left over. Everything it starts writes below .stepgres/ of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NoReturn

import analyse
import flow as flows
import psutil
import screen
from fleet import HERE, Fleet, descendants, left_over

from stepgres_cli.watching import make_view, watch
from stepgres_service.dev import EmbeddedPostgres
from stepgres_service.store.migrate import Migrator
from stepgres_worker import Client, RunSnapshot, RunSpec, StepStatus, TaskSnapshot

WORKERS = 2
DIAMONDS = 5_000
TASKS_OF_A_DIAMOND = 4
_REPOSITORY = HERE.parents[2]


class Failed(Exception):
    """The demo did not show what it promises."""


def main() -> int:
    """Run it; returns the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("folder", nargs="?", default=sysconfig.get_paths()["stdlib"], help="a folder of Python files")
    source = str(Path(options.parse_args().folder).resolve())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    started = time.monotonic()
    folder = make_folder()
    try:
        show(source, folder)
    except KeyboardInterrupt:
        screen.note("stopped")
        return 130
    except (Failed, OSError, RuntimeError) as error:
        screen.failed(str(error))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    screen.passed(time.monotonic() - started)
    return 0


def make_folder() -> Path:
    """A folder for all that is started; folders of demos that were killed go."""
    parent = _REPOSITORY / ".stepgres"
    for old in parent.glob("demo-*"):
        if not psutil.pid_exists(int(old.name.removeprefix("demo-"))):
            shutil.rmtree(old, ignore_errors=True)
    folder = parent / f"demo-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def interrupt(_number: int, _frame: object) -> NoReturn:
    """A signal that ends the demo ends it as Ctrl-C does."""
    raise KeyboardInterrupt


def show(source: str, folder: Path) -> None:
    """Start everything, run both parts, stop everything, and look whether something is left."""
    files = len(analyse.list_files(source))
    if not files:
        raise Failed(f"{source}: no Python files there; name another folder")
    screen.title(source, files)
    known: list[psutil.Process] = []
    try:
        fleet = Fleet(folder)
        with EmbeddedPostgres(folder / "postgres", ephemeral=True) as postgres:
            try:
                target = start_coordinator(fleet, postgres)
                with Client(target) as client:
                    run_report(client, fleet, source, target)
                    run_diamonds(client, fleet)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # a second one would only leave something behind
                known = descendants()
                fleet.stop()
    finally:
        left = left_over(known)
    if left:
        raise Failed(f"processes {left} are left over")
    screen.note(f"{len(known)} processes were started and have ended")


def start_coordinator(fleet: Fleet, postgres: EmbeddedPostgres) -> str:
    """Migrate, start a coordinator on a free port, and return its address when it serves."""
    Migrator(postgres.dsn()).up()
    fleet.start(
        "coordinator", "serve", "--listen", "127.0.0.1:0",
        STEPGRES_DATABASE_URL=postgres.dsn(), STEPGRES_LOG_FORMAT="json", STEPGRES_LOG_LEVEL="info",
    )  # fmt: skip
    log = fleet.folder / "coordinator.log"
    while True:
        for line in log.read_text().splitlines():
            if '"coordinator ready"' in line:
                return str(json.loads(line)["address"])
        fleet.check()
        time.sleep(0.05)


def run_report(client: Client, fleet: Fleet, source: str, target: str) -> None:
    """The report, through the engine and without it."""
    client.register(flows.code_report)  # as the workers will do again
    client.register(flows.diamond)
    run = client.start_run(flows.code_report.slug, {"folder": source})
    seen: set[str] = set()

    def each(snapshot: RunSnapshot) -> None:
        if not seen:  # the run waits for its first worker: so every step is seen from its start
            start_workers(fleet, target)
        fleet.check()
        seen.update(running_steps(snapshot))

    last = watch(run.watch(full=True), make_view(), each)
    if last.output_json is None:
        error = last.error
        raise Failed(f"run {last.run_id} {last.status}" + (f": {error.step}: {error.message}" if error else ""))
    unseen = set(last.steps) - seen
    if unseen:
        raise Failed(f"steps {sorted(unseen)} were never seen running")
    answer = last.output["report"]
    first = client.get_task(run.id, "list_files")
    screen.report(answer["report"])
    screen.report_times(report_times(last, first, answer))
    compare(source, answer["report"])


def start_workers(fleet: Fleet, target: str) -> None:
    """Start the worker processes; they serve both flows."""
    for number in range(1, WORKERS + 1):
        fleet.start(f"worker-{number}", "worker", "run", "flow:worker", STEPGRES_TARGET=target)


def running_steps(snapshot: RunSnapshot) -> set[str]:
    """Steps that this frame, one before the end, shows as running or as having begun."""
    if snapshot.status.terminal:
        return set()
    return {
        step.step for step in snapshot.steps.values()
        if step.status is StepStatus.STARTED or step.start_time is not None
    }  # fmt: skip


def report_times(run: RunSnapshot, first: TaskSnapshot, answer: dict[str, Any]) -> dict[str, Any]:
    """Where the time went, by the database's clock, from the first task's hand-out to the end of the run.

    The handlers' share is what they would take on their own: listing, plus parsing (time of the handlers' threads,
    measured in them) spread evenly over the workers, plus reporting. The rest is the engine's: database, coordinator,
    streams, and waiting for a processor, since all of them share this machine.
    """
    assert first.start_time is not None
    assert first.end_time is not None
    assert run.end_time is not None
    took = (run.end_time - first.start_time).total_seconds()
    parsing = answer["parse_handler_s"]
    handlers = (first.end_time - first.start_time).total_seconds() + parsing / WORKERS + answer["report_handler_s"]
    return {
        "run_id": run.run_id,
        "tasks": sum(step.counts.completed for step in run.steps.values()),
        "took_s": took,
        "parsing_s": parsing,
        "handlers_s": handlers,
        "engine_s": max(0.0, took - handlers),
    }


def compare(source: str, report: dict[str, Any]) -> None:
    """Compute the same without the engine, in this process alone, and fail on a difference."""
    started = time.perf_counter()
    plain = analyse.summarise([analyse.parse_file(source, path) for path in analyse.list_files(source)])
    if plain != report:
        wrong = [name for name in plain if plain[name] != report.get(name)]
        raise Failed(f"the report differs from the plain computation in {wrong}")
    screen.same(time.perf_counter() - started)


def run_diamonds(client: Client, fleet: Fleet) -> None:
    """20,000 tasks that do nothing, through the same workers: what the engine alone can do here."""
    slug = flows.diamond.slug
    started = time.time()
    with screen.busy(f"{DIAMONDS * TASKS_OF_A_DIAMOND:,} tasks that do nothing"):
        for _ in range(DIAMONDS // 1000):
            refused = [item.error for item in client.start_runs([RunSpec(slug)] * 1000) if item.error is not None]
            if refused:
                raise Failed(f"a diamond was refused: {refused[0]}")
        while len(client.list_runs(flow=slug, status="started", page_size=1)):
            fleet.check()
            time.sleep(0.2)  # the times are the database's: how often we ask does not show in them
    runs: list[RunSnapshot] = []
    token = ""
    while len(runs) < DIAMONDS:
        page = client.list_runs(flow=slug, status="completed", page_size=1000, page_token=token)
        runs += page.items
        token = page.next_page_token
        if not token:
            break
    if len(runs) != DIAMONDS:
        raise Failed(f"{len(runs)} of {DIAMONDS} diamonds completed")
    # The machine has one clock, so the database's end and our start may be compared.
    took = max(run.end_time.timestamp() for run in runs if run.end_time is not None) - started
    screen.diamonds(DIAMONDS, DIAMONDS * TASKS_OF_A_DIAMOND, took)


if __name__ == "__main__":
    sys.exit(main())
