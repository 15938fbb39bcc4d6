"""Flows by version, kept in memory: a version's steps only ever grow, so what is known stays true."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context

from stepgres_service.model import Flow
from stepgres_service.store.flows import FlowStore

_MAX_VERSIONS = 10_000


class DefinitionCache:
    """Answers what a leased task refers to; forgets the versions that nobody asked for the longest.

    Args:
        store: where versions are read from.
        max_versions: versions that are kept.
    """

    def __init__(self, store: FlowStore, max_versions: int = _MAX_VERSIONS) -> None:
        self._store = store
        self._max_versions = max_versions
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        self._loading: dict[int, asyncio.Task[Flow | None]] = {}

    def get(self, version_id: int, step_index: int) -> Flow | None:
        """The version, when it is in memory and has that step."""
        flow = self._flows.get(version_id)
        if flow is None or step_index >= len(flow.steps):
            return None
        self._flows.move_to_end(version_id)
        return flow

    def timeout_s(self, version_id: int, step_index: int) -> float | None:
        """Seconds an attempt of a step may take; None when the version is not in memory."""
        flow = self.get(version_id, step_index)
        return None if flow is None else float(flow.timeout_of(flow.steps[step_index]))

    async def load(self, version_id: int, step_index: int = 0) -> Flow | None:
        """Reads a version, once for all who ask at the same time. None when its flow was deleted.

        Args:
            version_id: the version.
            step_index: the step that is asked for. A read under way may have begun before it was added; then another
                is made.

        Raises:
            Unavailable: the database is away.
        """
        under_way = self._loading.get(version_id)
        if under_way is not None:
            flow = await asyncio.shield(under_way)
            if flow is not None and step_index < len(flow.steps):
                return flow
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(self._loading.get(version_id) or self._begin(version_id))

    def _begin(self, version_id: int) -> asyncio.Task[Flow | None]:
        # A context of its own: what it logs is of no single call.
        task = self._loading[version_id] = asyncio.create_task(self._read(version_id), context=Context())
        task.add_done_callback(lambda done: self._end(version_id, done))
        return task

    async def _read(self, version_id: int) -> Flow | None:
        flow = await self._store.load_version(version_id)
        if flow is not None:
            # What a deleted flow was stays known: a task of it may be on its way to a worker.
            self._flows[version_id] = flow
            self._flows.move_to_end(version_id)
            while len(self._flows) > self._max_versions:
                self._flows.popitem(last=False)
        return flow

    def _end(self, version_id: int, task: asyncio.Task[Flow | None]) -> None:
        del self._loading[version_id]
        if not task.cancelled():
            # Looked at, or asyncio complains of a failure that nobody waited for to the end.
            task.exception()
