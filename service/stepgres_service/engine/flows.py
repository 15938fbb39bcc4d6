"""Use cases of definitions: create, add, read, list, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepgres_service.engine.catalogue import Catalogue
from stepgres_service.engine.checks import (
    check_dependencies,
    check_flow,
    check_slug,
    check_step,
    in_path_order,
    once_a_path,
    topological_order,
)
from stepgres_service.engine.fixes import Fixer, Operation
from stepgres_service.engine.near_names import NearFlows
from stepgres_service.engine.plan_warnings import warnings_of
from stepgres_service.engine.plans import check_plan
from stepgres_service.errors import InvalidArgument, Reason, Violation
from stepgres_service.model import Flow, FlowSpec, Step, StepSpec
from stepgres_service.store.flows import FlowStore

#: Dependencies in all from which a definition is checked in a thread.
_LARGE_FLOW = 20_000


#: A violation or warning with its fix, which may be empty.
Fixed = tuple[Violation, list[Operation]]


@dataclass(frozen=True, slots=True)
class Validation:
    """What ValidateFlow finds."""

    violations: list[Fixed]
    warnings: list[Fixed]


def _refuse(found: Sequence[Violation], more: Sequence[Violation]) -> None:
    """Raises InvalidArgument when anything is wrong."""
    violations = in_path_order(once_a_path(found, more))
    if violations:
        raise InvalidArgument(*violations)


class Definitions:
    """What FlowService does.

    Args:
        store: reads and writes definitions.
        catalogue: handlers that are served now.
        max_steps: steps a flow may have.
        max_dependencies: dependencies a step may have.
        default_queue: shared queue of flows that are made without one; None = each has a queue of its own.
    """

    def __init__(
        self,
        store: FlowStore,
        catalogue: Catalogue,
        *,
        max_steps: int = 2000,
        max_dependencies: int = 2000,
        default_queue: str | None = None,
    ) -> None:
        self._store = store
        self._near = NearFlows(store)
        self._catalogue = catalogue
        self._max_steps = max_steps
        self._max_dependencies = max_dependencies
        self._default_queue = default_queue

    async def create_flow(
        self, spec: FlowSpec, *, new_version: bool, found: Sequence[Violation] = ()
    ) -> tuple[Flow, bool]:
        """Creates a flow, or finds the version that equals it; True when it was created.

        Args:
            spec: as its author wrote it.
            new_version: makes a version of another shape instead of refusing it.
            found: what is wrong already; told together with what is found here.

        Raises:
            InvalidArgument: with every violation.
            AlreadyExists: the flow has another shape.
        """
        if sum(len(step.depends_on) for step in spec.steps) < _LARGE_FLOW:
            spec = self._checked(spec, found)
        else:
            # Seconds for millions of dependencies: the streams of this coordinator must not wait for them.
            spec = await asyncio.to_thread(self._checked, spec, found)
        return await self._store.define(spec, new_version=new_version, default_queue=self._default_queue)

    async def validate_flow(
        self, spec: FlowSpec, *, inline: bool = False, found: Sequence[Violation] = ()
    ) -> Validation:
        """Everything that is wrong with a definition, and doubtful, with fixes.

        Args:
            spec: as its author wrote it.
            inline: it is a plan, to come with a run.
            found: what is wrong already; told together with what is found here.
        """
        served = await self._catalogue.served_handlers()
        # In a thread: schemas of any size are compared, and definitions of any size are looked at.
        return await asyncio.to_thread(self._validated, spec, inline, found, served)

    def _validated(
        self, spec: FlowSpec, inline: bool, found: Sequence[Violation], served: Mapping[str, str | None]
    ) -> Validation:
        check = check_plan if inline else check_flow
        more = check(spec, max_steps=self._max_steps, max_dependencies=self._max_dependencies)
        violations = once_a_path(found, more)
        fixer = Fixer(spec)
        # Found in the order in which they were looked for, which the fixes rely on: slugs before what refers to them.
        fixes = {id(violation): fixer.fix(violation) for violation in violations}
        return Validation(
            [(violation, fixes[id(violation)]) for violation in in_path_order(violations)],
            warnings_of(spec, served, inline=inline),
        )

    def _checked(self, spec: FlowSpec, found: Sequence[Violation]) -> FlowSpec:
        _refuse(found, check_flow(spec, max_steps=self._max_steps, max_dependencies=self._max_dependencies))
        return replace(spec, steps=tuple(topological_order(spec.steps)))

    async def add_step(self, flow: str, step: StepSpec, *, found: Sequence[Violation] = ()) -> tuple[Step, bool, int]:
        """Appends a step to the latest version: (step, created, version).

        Args:
            flow: slug of the flow.
            step: as its author wrote it.
            found: what is wrong already; told together with what is found here.

        Raises:
            InvalidArgument: with every violation that shows without the flow, every dependency that the flow does not
                have, or the first other one that shows with it.
            NotFound: no such flow.
            AlreadyExists: the step exists with another shape.
        """
        _refuse(found, [*check_slug("flow", flow), *check_step("step.", step, self._max_dependencies)])
        try:
            async with self._near.hinting(flow):
                return await self._store.add_step(flow, step, self._max_steps)
        except InvalidArgument as error:
            if all(violation.reason is not Reason.UNKNOWN_DEPENDENCY for violation in error.violations):
                raise
            slugs = [known.spec.slug for known in (await self._store.get(flow)).steps]
            _refuse([], check_dependencies("step.", flow, step, slugs))
            raise

    async def get_flow(self, flow: str, version: int = 0) -> tuple[Flow, list[int]]:
        """A version (0 = the latest) with its steps, and the numbers of all versions.

        Raises:
            NotFound: no such flow or version.
        """
        async with self._near.hinting(flow):
            return await self._store.get(flow, version), await self._store.versions(flow)

    async def list_flows(self, prefix: str, after: str, limit: int, *, with_steps: bool) -> list[Flow]:
        """A page of flows by slug, behind `after`."""
        return await self._store.list_flows(prefix, after, limit, with_steps=with_steps)

    async def delete_flow(self, flow: str, *, force: bool) -> int:
        """Deletes a flow; returns how many runs were cancelled.

        Raises:
            NotFound: no such flow.
            FailedPrecondition: runs are active and force is False.
        """
        async with self._near.hinting(flow):
            return await self._store.delete(flow, force=force)
