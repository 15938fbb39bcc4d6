"""procrastinate: single jobs with async handlers, by `batch_defer_async` and a worker's `concurrency`."""

from __future__ import annotations

import asyncio

import procrastinate

from bench.peers.roles import go, say, until_terminated

PACKAGE = "procrastinate"
#: Jobs in one batch_defer_async call.
_BATCH = 500
#: Jobs at the same time in one worker.
_CONCURRENCY = 10
#: Connections of one worker.
_POOL = 20
ABOUT = f"single jobs, batch_defer by {_BATCH}, async handlers, concurrency {_CONCURRENCY}, pool {_POOL}, psycopg in C"

blueprint = procrastinate.Blueprint()


@blueprint.task(name="nothing")
async def nothing(n: int) -> int:
    """Does nothing."""
    return 1


def _app(address: str) -> procrastinate.App:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address, min_size=4, max_size=_POOL))
    app.add_tasks_from(blueprint, namespace="bench")
    return app


async def setup(address: str) -> None:
    """Applies the schema."""
    async with _app(address).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def work(address: str) -> None:
    """Serves jobs."""
    async with _app(address).open_async() as app:
        serving = asyncio.create_task(app.run_worker_async(concurrency=_CONCURRENCY, install_signal_handlers=False))
        await until_terminated()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def enqueue(address: str, count: int) -> None:
    """Defers the jobs in batches."""
    async with _app(address).open_async() as app:
        task = app.tasks["bench:nothing"]
        await go()
        for first in range(0, count, _BATCH):
            await task.batch_defer_async(*({"n": n} for n in range(first, min(first + _BATCH, count))))
        say("done")
