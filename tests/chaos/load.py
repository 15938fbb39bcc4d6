"""A mixed load through the public client: starts runs of all kinds, cancels some, retries failed ones, reads outputs."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

from stepgres_worker import AsyncClient, RequestError, RunSnapshot
from tests.chaos.flows import FLOWS, executions_in, some_runs
from tests.chaos.journal import Journal

#: Runs under way that the load keeps up.
_ACTIVE = 200
#: Most runs in one call.
_BATCH = 40
#: Times that a failed run is retried.
_RETRIES = 3


class Load:
    """Keeps runs under way, whatever becomes of the coordinators.

    Args:
        targets: addresses, one client each.
        journal: told which starts were acknowledged, which runs are retried, and what outputs were read.
        seed: of everything that is left to chance here.
    """

    def __init__(self, targets: list[str], journal: Journal, seed: int) -> None:
        self._clients = [AsyncClient(target, timeout_s=10) for target in targets]
        self._journal = journal
        self._chance = random.Random(f"load {seed}")
        self._runs = some_runs(self._chance, f"chaos-{seed}")
        self._calls = itertools.count()
        self._retried: dict[str, int] = {}
        self._seen: set[str] = set()
        self._stopping = asyncio.Event()
        #: Calls that were answered with an error: what clients notice of the faults.
        self.errors = 0

    async def define(self) -> None:
        """Creates the flows."""
        for slug, steps in FLOWS.items():
            await self._clients[0].create_flow(slug, steps)

    async def run(self) -> None:
        """Goes on until stop()."""
        await asyncio.gather(
            *(self._repeat(action) for action in (self._start, self._start, self._cancel, self._retry, self._look))
        )

    def stop(self) -> None:
        """Starts nothing more."""
        self._stopping.set()

    async def close(self) -> None:
        """Closes the clients."""
        for client in self._clients:
            await client.close()

    async def _repeat(self, action: Callable[[AsyncClient], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await action(self._client())
            except RequestError:
                self.errors += 1
                await self._pause(0.2)

    def _client(self) -> AsyncClient:
        return self._clients[next(self._calls) % len(self._clients)]

    async def _start(self, client: AsyncClient) -> None:
        active = await client.list_runs(status="started", page_size=_ACTIVE)
        missing = min(_BATCH, _ACTIVE - len(active))
        if missing < _BATCH / 4:
            await self._pause(0.05)
            return
        specs = list(itertools.islice(self._runs, missing))
        while True:
            try:
                results = await client.start_runs(specs)
                break
            except RequestError:
                # It may have been done: the keys make the same runs of it.
                self.errors += 1
                if self._stopping.is_set():
                    return
                await self._pause(0.2)
                client = self._client()
        for result in results:
            if result.error is not None:
                raise result.error
        await asyncio.gather(*(self._journal.append("accepted", run=result.run_id) for result in results))

    async def _cancel(self, client: AsyncClient) -> None:
        await self._pause(self._chance.uniform(0.1, 0.5))
        for flow in ("slow", "diamond", "fan"):
            under_way = (await client.list_runs(flow=flow, status="started", page_size=20)).items
            if under_way:
                await client.cancel_run(self._chance.choice(under_way).run_id, reason="chaos")

    async def _retry(self, client: AsyncClient) -> None:
        await self._pause(0.3)
        cancelled = (await client.list_runs(flow="slow", status="cancelled", page_size=5)).items
        for run in (await client.list_runs(flow="retried", status="failed", page_size=20)).items + cancelled:
            if self._retried.get(run.run_id, 0) < _RETRIES:
                self._retried[run.run_id] = self._retried.get(run.run_id, 0) + 1
                await self._journal.append("retried", run=run.run_id)
                await client.retry_run(run.run_id)

    async def _look(self, client: AsyncClient) -> None:
        await self._pause(0.2)
        for run in (await client.list_runs(status="completed", page_size=10)).items:
            if run.run_id not in self._seen:
                self._seen.add(run.run_id)
                await self._tell(await client.get_run(run.run_id))

    async def _tell(self, run: RunSnapshot) -> None:
        await self._journal.append("seen", run=run.run_id, saw=sorted(executions_in(run.output)))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
