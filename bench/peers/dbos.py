"""dbos: the diamond as an async workflow of four durable steps, on a queue with a limit per worker."""

from __future__ import annotations

import asyncio
import uuid

from dbos import DBOS, DBOSClient, DBOSConfig

from bench.peers.roles import go, say, until_terminated

PACKAGE = "dbos"
_APPLICATION = "bench"
_QUEUE = "bench"
#: Workflows at the same time in one process.
_CONCURRENCY = 200
#: Seconds between two looks into the queue; its default of 1 s leaves workers idle.
_POLL_S = 0.2
#: Connections and threads of one process; both as in its makers' own benchmark or more.
_POOL, _THREADS = 20, 512
#: Enqueue calls at the same time: there is no call for many workflows.
_CALLS = 50
ABOUT = (
    f"async workflow of four async steps, enqueue_async by {_CALLS} callers, worker_concurrency {_CONCURRENCY},"
    f" polling_interval {_POLL_S} s, pool {_POOL}, {_THREADS} threads"
)


@DBOS.step()
async def split() -> int:
    """Does nothing."""
    return 1


@DBOS.step()
async def left(n: int) -> int:
    """Does nothing."""
    return 1


@DBOS.step()
async def right(n: int) -> int:
    """Does nothing."""
    return 1


@DBOS.step()
async def join(a: int, b: int) -> int:
    """Does nothing."""
    return 1


@DBOS.workflow(name="diamond")
async def diamond() -> int:
    """The four steps, left and right at the same time."""
    n = await split()
    return await join(*await asyncio.gather(left(n), right(n)))


def _launch(address: str) -> None:
    config: DBOSConfig = {
        "name": _APPLICATION,
        "system_database_url": address,
        "executor_id": str(uuid.uuid4()),
        "sys_db_pool_size": _POOL,
        "max_executor_threads": _THREADS,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()


async def setup(address: str) -> None:
    """Migrates and registers the queue."""
    await asyncio.to_thread(_launch, address)
    await DBOS.register_queue_async(_QUEUE, worker_concurrency=_CONCURRENCY, polling_interval_sec=_POLL_S)
    await asyncio.to_thread(DBOS.destroy)


async def work(address: str) -> None:
    """Serves workflows."""
    await asyncio.to_thread(_launch, address)
    await until_terminated()
    await asyncio.to_thread(DBOS.destroy)


async def enqueue(address: str, count: int) -> None:
    """Enqueues the workflows one by one, many calls at a time."""
    client = DBOSClient(system_database_url=address, application_name=_APPLICATION)
    numbers = iter(range(count))

    async def caller() -> None:
        for _ in numbers:
            await client.enqueue_async({"queue_name": _QUEUE, "workflow_name": "diamond"})

    await go()
    await asyncio.gather(*(caller() for _ in range(_CALLS)))
    say("done")
    client.destroy()
