"""Two versions of a flow side by side: runs are split between them and compared.

    python ab_test.py

A run keeps the version it started with, so the new one can be tried on some runs while the others go on as before.
"""

from __future__ import annotations

import asyncio
import statistics
import zlib

from stepgres_worker import AsyncClient, RunSpec, Step, Worker

worker = Worker()
TEXT = "pack my box with five dozen liquor jugs while the quick brown fox jumps over a lazy dog"
RUNS = 40


@worker.step("greedy")
def greedy(input: dict) -> list[str]:
    """Version 1: takes the longest words until there is no more room."""
    return pick(sorted(input["run"]["words"], key=len, reverse=True), input["run"]["room"])


@worker.step("thrifty")
def thrifty(input: dict) -> list[str]:
    """Version 2: takes the shortest words first."""
    return pick(sorted(input["run"]["words"], key=len), input["run"]["room"])


def pick(words: list[str], room: int) -> list[str]:
    """The words in their order, as many as there is room for."""
    taken: list[str] = []
    for word in words:
        if sum(map(len, taken)) + len(word) <= room:
            taken.append(word)
    return taken


@worker.step("count")
def count(input: dict) -> int:
    """How many words were packed: more is better."""
    return len(input["choose"])


def version_of(user: str) -> int:
    """Half of the users get version 2, each always the same."""
    return 1 + zlib.crc32(user.encode()) % 2


async def main() -> None:
    """Makes both versions, splits the runs, prints the comparison."""
    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient() as client:
        for handler in ("greedy", "thrifty"):
            steps = [Step("choose", handler=handler), Step("score", handler="count", depends_on=["choose"])]
            await client.create_flow("packing", steps, new_version=True)
        users = [f"user-{number}" for number in range(RUNS)]
        started = await client.start_runs(
            [RunSpec("packing", {"words": TEXT.split(), "room": 30}, version=version_of(user)) for user in users]
        )
        scores: dict[int, list[int]] = {1: [], 2: []}
        for user, result in zip(users, started, strict=True):
            output = await client.run(result.run_id).result(timeout=60)
            scores[version_of(user)].append(output["score"])
    worker.stop()
    await serving
    for version, values in scores.items():
        print(f"version {version}: {len(values)} runs, {statistics.mean(values):.1f} words packed")
    better = max(scores, key=lambda version: statistics.mean(scores[version]))
    print(f"version {better} packs more")


if __name__ == "__main__":
    asyncio.run(main())
