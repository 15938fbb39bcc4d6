"""Reads of what is served now: handlers, workers, and queues with what nobody serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries

_SQL = load_queries("catalogue")


@dataclass(frozen=True, slots=True)
class CatalogueHandler:
    """A handler that living sessions serve in a scope."""

    name: str
    scope: str
    description: str
    #: JSON Schemas as text, byte for byte as they came; None when unknown.
    params_schema: str | None
    input_schema: str | None
    output_schema: str | None
    #: Living sessions that serve it.
    session_count: int
    #: The first 100 steps that use it, as `<flow>.<step>`.
    steps: Sequence[str]
    #: Number of such steps, up to 10,000.
    step_count: int


@dataclass(frozen=True, slots=True)
class CatalogueWorker:
    """A living session."""

    worker: str
    #: A hash of its id, to go on behind it.
    position: str
    #: The first 100 of each.
    scopes: Sequence[str]
    handlers: Sequence[str]
    #: Number of different handlers.
    handler_count: int
    #: As of the last renewal.
    credits: int
    #: Tasks it has.
    in_flight: int
    coordinator: str
    sdk: str
    connected_at: datetime
    lease_until: datetime
    #: When its last frame came, as of the last renewal.
    seen_at: datetime
    #: Milliseconds since then.
    lag_ms: int


@dataclass(frozen=True, slots=True)
class UnservedRoute:
    """A handler in a scope that tasks wait for in vain."""

    scope: str
    handler: str
    #: Up to 1,000.
    task_count: int


@dataclass(frozen=True, slots=True)
class CatalogueQueue:
    """A queue and what waits in it."""

    name: str
    queue_id: int
    #: Shared by name; False for a flow's own.
    shared: bool
    depth: int
    #: The depth is beyond what is counted.
    depth_is_estimate: bool
    #: Seconds since the oldest task became runnable; 0 when empty.
    oldest_age_s: int
    #: Routes with tasks that no living session serves, and the first 20 of them.
    unserved_count: int
    unserved: tuple[UnservedRoute, ...]
    #: Steps of their oldest tasks, as `<flow>.<step>`.
    unserved_steps: Sequence[str]


class CatalogueStore:
    """Reads the catalogue: pages in one statement each.

    Args:
        database: the pool.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_handlers(
        self, prefix: str, after: tuple[str, str], limit: int
    ) -> tuple[tuple[CatalogueHandler, ...], bool]:
        """Handlers by name and scope, behind `after`; True when there are more.

        Args:
            prefix: of their names.
            after: name and scope of the last one of the page before; empty for the first page.
            limit: size of the page.
        """
        parameters = {"prefix": prefix, "handler": after[0], "scope": after[1], "limit": limit + 1}
        rows = await self._rows("list_handlers", parameters)
        return tuple(CatalogueHandler(**row) for row in rows[:limit]), len(rows) > limit

    async def list_workers(self, after: tuple[str, str], limit: int) -> tuple[tuple[CatalogueWorker, ...], bool]:
        """Living sessions by the worker's name, behind `after`; True when there are more.

        Args:
            after: name and position of the last one of the page before; empty for the first page.
            limit: size of the page.
        """
        parameters = {"worker": after[0], "position": after[1], "limit": limit + 1}
        rows = await self._rows("list_workers", parameters)
        return tuple(CatalogueWorker(**row) for row in rows[:limit]), len(rows) > limit

    async def list_queues(self, after: tuple[str, int], limit: int) -> tuple[tuple[CatalogueQueue, ...], bool]:
        """Queues by name, behind `after`; True when there are more.

        Args:
            after: name and id of the last one of the page before; "" and 0 for the first page.
            limit: size of the page.
        """
        parameters = {"name": after[0], "queue_id": after[1], "limit": limit + 1}
        rows = await self._rows("list_queues", parameters)
        return tuple(_queue(**row) for row in rows[:limit]), len(rows) > limit

    async def served_handlers(self, limit: int) -> dict[str, str | None]:
        """Handlers that living sessions serve in the common scope, each with its params schema; None when unknown."""
        rows = await self._rows("served_handlers", {"limit": limit})
        return {row["name"]: row["params_schema"] for row in rows}

    async def _rows(self, query: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        async with self._database.connection() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute(_SQL[query], parameters)
            return await cursor.fetchall()


def _queue(unserved: Sequence[Mapping[str, Any]], **columns: Any) -> CatalogueQueue:
    return CatalogueQueue(unserved=tuple(UnservedRoute(**route) for route in unserved), **columns)
