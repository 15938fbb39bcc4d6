"""matrix: the diamond with other payloads, credits, workers and coordinators."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, timed_runs
from bench.stack import running_stack
from stepgres_worker import AsyncClient, Step

TARGETS: dict[str, Target] = {}


@dataclass(frozen=True)
class Case:
    """One variation."""

    name: str
    credits: int = 400
    workers: int = 1
    coordinators: int = 1
    payload_bytes: int = 0

    @property
    def handler(self) -> str:
        """What its steps execute."""
        return "same" if self.payload_bytes else "nothing"


_CASES = (
    Case("400_credits"),
    Case("1_credit", credits=1),
    Case("50_credits", credits=50),
    Case("2000_credits", credits=2000),
    Case("2_workers", credits=200, workers=2),
    Case("4_workers", credits=100, workers=4),
    Case("2_coordinators", credits=200, workers=2, coordinators=2),
    Case("1_kib", payload_bytes=1 << 10),
    Case("32_kib", payload_bytes=32 << 10),
)


async def _diamonds(target: str, case: Case, runs: int) -> float:
    payload: Any = "x" * case.payload_bytes if case.payload_bytes else {"n": 1}
    async with AsyncClient(target) as client:
        steps = [Step(slug, depends_on=needs, handler=case.handler) for slug, needs in DIAMOND.items()]
        await client.create_flow("varied", steps)
        return runs * len(DIAMOND) / await timed_runs(client, "varied", runs, payload)


def run(effort: Effort, figures: Figures) -> None:
    """Every case once a round, so that they alternate."""
    for _ in range(effort.rounds):
        for case in _CASES:
            slow = case.credits == 1 or case.payload_bytes > 10_000
            runs = effort.scale(5_000, 500) if slow else effort.scale(50_000, 5_000)
            with running_stack(
                "bench.handlers:worker", case.credits, workers=case.workers, coordinators=case.coordinators
            ) as stack:
                figures.add(f"tasks_per_s.{case.name}", asyncio.run(_diamonds(stack.target, case, runs)))
