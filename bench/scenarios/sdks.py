"""sdks: the diamond with one worker of each SDK, in turn; handlers that do nothing, 400 credits."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, timed_runs
from bench.stack import running_stack
from scripts.sdk_workers import WORKERS, Missing
from stepgres_worker import AsyncClient

TARGETS: dict[str, Target] = {}
_CREDITS = 400


async def _diamonds(target: str, runs: int) -> float:
    async with AsyncClient(target) as client:
        await define(client, "diamond", DIAMOND)
        return runs * len(DIAMOND) / await timed_runs(client, "diamond", runs)


def _commands(folder: Path) -> dict[str, list[str]]:
    """What starts the worker of each SDK that can be built here; the others are named."""
    commands = {}
    for sdk, build in WORKERS.items():
        try:
            commands[sdk] = build(folder)
        except Missing as missing:
            print(f"  {sdk}: NOT MEASURED: {missing}")
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"  {sdk}: NOT MEASURED: its worker cannot be built: {error}")
    return commands


def run(effort: Effort, figures: Figures) -> None:
    """The workers that `make conformance` judges: they serve what is no standard handler by doing nothing."""
    told = {
        "STEPGRES_CONFORMANCE_CONCURRENCY": str(_CREDITS),
        "STEPGRES_CONFORMANCE_HANDLERS": ",".join(f"diamond.{step}" for step in DIAMOND),
    }
    with tempfile.TemporaryDirectory(prefix="stepgres-sdks-") as folder:
        commands = _commands(Path(folder))
        for _ in range(effort.rounds):
            for sdk, command in commands.items():
                with running_stack(program=(command, told)) as stack:
                    figures.add(
                        f"sdk_tasks_per_s.{sdk}", asyncio.run(_diamonds(stack.target, effort.scale(50_000, 5_000)))
                    )
