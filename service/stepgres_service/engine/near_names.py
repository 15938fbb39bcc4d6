"""Which name was probably meant by one that does not exist; looked up only when a call is refused for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stepgres_service.engine.checks import closest_step
from stepgres_service.errors import NotFound, Reason, StepgresError
from stepgres_service.store.flows import FlowStore, flow_not_found

#: Names of one call that are looked up: a batch of starts may name as many as it has items.
_MAX_LOOKED_UP = 10


class NearFlows:
    """Tells in refusals which flow was probably meant.

    Args:
        store: reads the names of flows.
    """

    def __init__(self, store: FlowStore) -> None:
        self._store = store

    async def hinted(self, errors: Sequence[tuple[str, StepgresError]]) -> list[StepgresError]:
        """Errors, those about an unknown flow with the flow that was meant.

        Args:
            errors: each with the flow that its call has named.
        """
        meant: dict[str, str | None] = {}
        found: list[StepgresError] = []
        for flow, error in errors:
            unknown = isinstance(error, NotFound) and error.reason is Reason.FLOW_NOT_FOUND
            if unknown and flow not in meant and len(meant) < _MAX_LOOKED_UP:
                meant[flow] = await self._closest(flow)
            name = meant.get(flow) if unknown else None
            found.append(error if name is None else flow_not_found(flow, name))
        return found

    @asynccontextmanager
    async def hinting(self, flow: str) -> AsyncIterator[None]:
        """Refusals inside tell which flow was probably meant."""
        try:
            yield
        except NotFound as error:
            (hinted,) = await self.hinted([(flow, error)])
            raise hinted from None

    async def _closest(self, flow: str) -> str | None:
        if flow.startswith("plan:"):
            return None
        try:
            return closest_step(await self._store.names_like(flow))(flow)
        except StepgresError:  # the database went away: the refusal stands without a hint
            return None
