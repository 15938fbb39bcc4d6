"""Workers that serve for the length of a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stepgres.v1 import worker_pb2
from stepgres_worker import AsyncClient, Worker


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[Worker]:
    """Serves, from its welcome to its Goodbye."""
    task = asyncio.create_task(worker.serve())
    ready = asyncio.create_task(worker.wait_ready())
    async with asyncio.timeout(30):
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()
    try:
        yield worker
    finally:
        worker.stop()
        await task


def subscriptions(*handlers: worker_pb2.Handler, scope: str = "") -> dict[str, Any]:
    """For a raw worker's Hello."""
    return {"subscriptions": [worker_pb2.Subscription(scope=scope, handlers=handlers)]}


async def handler_names(client: AsyncClient) -> list[str]:
    """Names in the catalogue's first page."""
    return [handler.name for handler in await client.list_handlers()]
