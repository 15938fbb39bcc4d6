"""What is served now, asked at most once a second: dashboards and agents poll it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from stepgres_service.store.catalogue import CatalogueHandler, CatalogueQueue, CatalogueStore, CatalogueWorker

#: Seconds an answer is given again, and pages kept: the lists of one second that are asked for at the same time.
_FRESH_S = 1.0
_MAX_PAGES = 256
#: Names that a definition is compared with.
_MAX_SERVED = 5000

_T = TypeVar("_T")
_Page = tuple[tuple[_T, ...], bool]


class Catalogue:
    """Lists handlers, workers and queues from the database; each page is at most a second old.

    Callers that ask for the same page at the same time share one statement.

    Args:
        store: reads the pages.
        clock: monotonic seconds.
    """

    def __init__(self, store: CatalogueStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        #: Page -> (when it was asked for, its answer), the oldest first.
        self._pages: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}

    async def list_handlers(self, prefix: str, after: tuple[str, str], limit: int) -> _Page[CatalogueHandler]:
        """Handlers that living sessions serve; see CatalogueStore.list_handlers."""
        return await self._page(
            ("handlers", prefix, after, limit), lambda: self._store.list_handlers(prefix, after, limit)
        )

    async def served_handlers(self) -> dict[str, str | None]:
        """Up to 5,000 names that are served in the common scope, each with the JSON Schema of its params or None."""
        return await self._page(("served",), lambda: self._store.served_handlers(_MAX_SERVED))

    async def list_workers(self, after: tuple[str, str], limit: int) -> _Page[CatalogueWorker]:
        """Living sessions; see CatalogueStore.list_workers."""
        return await self._page(("workers", after, limit), lambda: self._store.list_workers(after, limit))

    async def list_queues(self, after: tuple[str, int], limit: int) -> _Page[CatalogueQueue]:
        """Queues; see CatalogueStore.list_queues."""
        return await self._page(("queues", after, limit), lambda: self._store.list_queues(after, limit))

    async def _page(self, key: Hashable, read: Callable[[], Awaitable[_T]]) -> _T:
        known = self._pages.get(key)
        if known is None or self._clock() - known[0] >= _FRESH_S:
            self._forget()
            answer: asyncio.Future[_T] = asyncio.ensure_future(read())
            known = self._pages[key] = (self._clock(), answer)
            answer.add_done_callback(lambda done: self._read(key, done))
        # A caller that goes away must not take the answer from the others.
        result: _T = await asyncio.shield(known[1])
        return result

    def _read(self, key: Hashable, answer: asyncio.Future[Any]) -> None:
        """A failure is told to those who wait for it, and not kept."""
        if (answer.cancelled() or answer.exception() is not None) and self._pages.get(key, (0, None))[1] is answer:
            del self._pages[key]

    def _forget(self) -> None:
        now = self._clock()
        for key in [key for key, (asked, _) in self._pages.items() if now - asked >= _FRESH_S]:
            del self._pages[key]
        while len(self._pages) >= _MAX_PAGES:
            del self._pages[next(iter(self._pages))]
