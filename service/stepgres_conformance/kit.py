"""Judges a worker: every point in turn, whatever the ones before have come to."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import grpc

from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, Point, all_points
from stepgres_conformance.process import Unusable
from stepgres_conformance.system import System, SystemBroken

#: Seconds by which the kit lets a point tell what it waited for before it ends it.
_SLACK_S = 5.0


class Status(StrEnum):
    """What a point has come to."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one point has come to."""

    point: Point
    status: Status
    #: The rule that is broken, when it failed by the worker's fault.
    rule: str = ""
    #: What was seen; why it was skipped.
    seen: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.point.id,
            "theme": self.point.theme,
            "sentence": self.point.sentence,
            "rules": list(self.point.rules),
            "status": self.status.value,
            "rule": self.rule or None,
            "seen": self.seen,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, slots=True)
class Options:
    """How the kit is asked to judge."""

    #: Words of which a point's id or theme must hold one; none = every point.
    only: tuple[str, ...] = ()
    #: Go on after a failed point.
    keep_going: bool = True
    #: Leave out what a minimal worker may leave out.
    minimal: bool = False
    #: Tasks of the point that sends many.
    volume: int = 20_000


def chosen(options: Options) -> list[Point]:
    """The points that the words name."""
    return [
        point
        for point in all_points()
        if not options.only or any(word in point.id or word == point.theme for word in options.only)
    ]


async def judge(
    command: Sequence[str], options: Options, on_verdict: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Judges the worker that a command starts.

    Args:
        command: starts it.
        options: what to look at.
        on_verdict: hears of each point as it is done.

    Returns:
        A verdict for each chosen point, in order.

    Raises:
        Unusable: the command cannot be started, or never connects.
        SystemBroken: the kit's own database or coordinator does not work.
    """
    if shutil.which(command[0]) is None:  # a database need not start to find that out
        raise Unusable(f"{command[0]}: there is no such program; give a command that starts the worker")
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="stepgres-conformance-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with System(folder) as system:
            bench = Bench(command, system, folder, options.volume)
            await bench.proxy.start()
            try:
                bench.proxy.upstream = system.coordinator.address
                await bench.start_worker()  # says at once when there is nothing to judge
                for point in chosen(options):
                    failed = any(verdict.status is Status.FAILED for verdict in verdicts)
                    verdict = await _verdict(bench, point, options, stop=failed and not options.keep_going)
                    verdicts.append(verdict)
                    on_verdict(verdict)
            finally:
                await bench.stop_worker()
                await bench.proxy.stop()
    return verdicts


async def _verdict(bench: Bench, point: Point, options: Options, *, stop: bool) -> Verdict:
    if stop:
        return Verdict(point, Status.SKIPPED, seen="a point before it failed")
    if options.minimal and point.optional:
        return Verdict(point, Status.SKIPPED, seen="a minimal worker may leave this out")
    begun = time.monotonic()
    rule = seen = ""
    try:
        await bench.provide(point)
        async with asyncio.timeout(point.limit_s + _SLACK_S):
            await point.check(bench)
    except Broken as broken:
        rule, seen = broken.rule or point.rules[0], str(broken)
    except TimeoutError:
        rule, seen = point.rules[0], f"the point was not through after {point.limit_s:g} s"
    except Unusable as unusable:
        rule, seen = point.rules[0], f"a worker process started for this point is no use: {unusable}"
    except (SystemBroken, grpc.aio.AioRpcError) as error:
        raise SystemBroken(f"point {point.id}: {error}") from error
    except Exception as error:  # noqa: BLE001 a worker that answers what nobody expects must not end the kit
        rule, seen = point.rules[0], f"what came could not be judged: {type(error).__name__}: {error}"
    seconds = time.monotonic() - begun
    if seen and bench.worker is not None and bench.worker.exit_code is not None and not point.fresh:
        seen += f" (the worker process has ended with {bench.worker.exit_code}: {bench.worker.output()[-300:]})"
    if seen or point.fresh:
        bench.proxy.heal()
        await bench.stop_worker()  # what broke a rule may be in any state: the next point gets another
    await bench.settle()
    return Verdict(point, Status.FAILED if seen else Status.PASSED, rule, seen, seconds)


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The verdicts for programs."""
    counts = {status.value: sum(verdict.status is status for verdict in verdicts) for status in Status}
    return {**counts, "points": [verdict.to_json() for verdict in verdicts]}
