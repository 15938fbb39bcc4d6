"""Flows by version, kept in memory: a version's steps only ever grow, so what is known stays true."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from stepgres_service.model import Flow
from stepgres_service.store.flows import FlowStore

_MAX_VERSIONS = 10_000


class DefinitionCache:
    """Answers what a leased task refers to.

    Args:
        store: where versions are read from.
    """

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        self._loading: dict[int, asyncio.Task[Flow | None]] = {}

    def get(self, version_id: int, step_index: int) -> Flow | None:
        """The version, when it is in memory and has that step."""
        flow = self._flows.get(version_id)
        return flow if flow is not None and step_index < len(flow.steps) else None

    def timeout_s(self, version_id: int, step_index: int) -> float | None:
        """Seconds an attempt of a step may take; None when the version is not in memory."""
        flow = self.get(version_id, step_index)
        return None if flow is None else float(flow.timeout_of(flow.steps[step_index]))

    async def load(self, version_id: int) -> Flow | None:
        """Reads a version, once for all who ask at the same time. None when its flow was deleted.

        Raises:
            Unavailable: the database is away.
        """
        task = self._loading.get(version_id)
        if task is None:
            task = self._loading[version_id] = asyncio.create_task(self._store.load_version(version_id))
            task.add_done_callback(lambda _: self._loading.pop(version_id, None))
        # Shielded: one caller that gives up must not take the answer from the others.
        flow = await asyncio.shield(task)
        if flow is not None:
            self._flows[version_id] = flow
            self._flows.move_to_end(version_id)
            while len(self._flows) > _MAX_VERSIONS:
                self._flows.popitem(last=False)
        return flow
