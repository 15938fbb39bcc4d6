"""Flows by version, kept in memory: a version's steps only ever grow, so what is known stays true."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context

from stepgres_service.model import Flow
from stepgres_service.store.flows import FlowStore

_MAX_VERSIONS = 10_000
_MAX_BYTES = 64 << 20
#: Versions that are kept however large they are: the tasks of two batches may all be of different plans.
_MIN_VERSIONS = 2_000

_Read = asyncio.Task[dict[int, Flow]]


class DefinitionCache:
    """Answers what a leased task refers to; forgets the versions that nobody asked for the longest.

    Args:
        store: where versions are read from.
        max_versions: versions that are kept.
        max_bytes: memory for them; beyond it only the latest 2,000 are kept.
    """

    def __init__(self, store: FlowStore, max_versions: int = _MAX_VERSIONS, max_bytes: int = _MAX_BYTES) -> None:
        self._store = store
        self._max_versions = max_versions
        self._max_bytes = max_bytes
        self._bytes = 0
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        self._loading: dict[int, _Read] = {}

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

    def missing(self, steps: Iterable[tuple[int, int]]) -> dict[int, int]:
        """What `load_all` has to read for these (version, step index): versions not in memory, with the highest step."""
        missing: dict[int, int] = {}
        for version_id, step_index in steps:
            if self.get(version_id, step_index) is None:
                missing[version_id] = max(step_index, missing.get(version_id, 0))
        return missing

    async def load_all(self, wanted: Mapping[int, int]) -> None:
        """Reads versions, all in one go; see `load`.

        Args:
            wanted: versions, each with the highest step that is asked for.
        """
        self._begin([version_id for version_id in wanted if version_id not in self._loading])
        for version_id, step_index in wanted.items():
            # Those behind the first are known when it is.
            if self.get(version_id, step_index) is None:
                await self.load(version_id, step_index)

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
            flow = (await asyncio.shield(under_way)).get(version_id)
            if flow is not None and step_index < len(flow.steps):
                return flow
        # Shielded: one caller that gives up must not take the answer from the others.
        return (await asyncio.shield(self._loading.get(version_id) or self._begin([version_id]))).get(version_id)

    def _begin(self, version_ids: Sequence[int]) -> _Read:
        # A context of its own: what it logs is of no single call.
        task = asyncio.create_task(self._read(version_ids), context=Context())
        self._loading.update(dict.fromkeys(version_ids, task))
        task.add_done_callback(lambda done: self._end(version_ids, done))
        return task

    async def _read(self, version_ids: Sequence[int]) -> dict[int, Flow]:
        flows = await self._store.load_versions(version_ids)
        for version_id, flow in flows.items():
            # What a deleted flow was stays known: a task of it may be on its way to a worker.
            self._bytes += _weight(flow) - _weight(self._flows.pop(version_id, None))
            self._flows[version_id] = flow
        while len(self._flows) > self._max_versions or (
            self._bytes > self._max_bytes and len(self._flows) > _MIN_VERSIONS
        ):
            self._bytes -= _weight(self._flows.popitem(last=False)[1])
        return flows

    def _end(self, version_ids: Sequence[int], task: _Read) -> None:
        for version_id in version_ids:
            del self._loading[version_id]
        if not task.cancelled():
            # Looked at, or asyncio complains of a failure that nobody waited for to the end.
            task.exception()


def _weight(flow: Flow | None) -> int:
    """Bytes that a version takes in memory, about."""
    return 0 if flow is None else 2000 + sum(700 + len(step.spec.params or "") for step in flow.steps)
