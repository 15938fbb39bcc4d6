"""awa: single jobs with async handlers, by `enqueue_many_copy` and a Python worker on the Rust core."""

from __future__ import annotations

from dataclasses import dataclass

import awa

from bench.peers.roles import go, say, until_terminated

PACKAGE = "awa-pg"
_QUEUE = "bench"
#: Jobs in one enqueue_many_copy call.
_BATCH = 1_000
#: Jobs at the same time; from 512 on it completes in four streams.
_CONCURRENCY = 1_000
#: Connections of one process.
_POOL = 50
ABOUT = f"single jobs, enqueue_many_copy by {_BATCH:,}, async handlers, max_workers {_CONCURRENCY:,}, pool {_POOL}"


@dataclass
class Nothing:
    """The job's arguments."""

    n: int


def _client(address: str) -> awa.AsyncClient:
    # Its driver wants a host in the address; the folder of the socket, further on, counts.
    return awa.AsyncClient(address.replace("@/", "@localhost/"), max_connections=_POOL)


async def setup(address: str) -> None:
    """Migrates: queue storage is active in a fresh database."""
    await _client(address).migrate()


async def work(address: str) -> None:
    """Serves jobs."""
    client = _client(address)

    @client.task(Nothing, queue=_QUEUE)
    async def nothing(job: awa.Job) -> None:
        return None

    await client.start([(_QUEUE, _CONCURRENCY)])
    await until_terminated()
    await client.shutdown()


async def enqueue(address: str, count: int) -> None:
    """Copies the jobs in, in batches."""
    client = _client(address)
    await go()
    for first in range(0, count, _BATCH):
        jobs = [Nothing(n) for n in range(first, min(first + _BATCH, count))]
        await client.enqueue_many_copy(jobs, queue=_QUEUE)
    say("done")
