"""Definitions: calls create, add and delete, and reads versions with their steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from stepgres_service.errors import InvalidArgument, NotFound, Reason, Violation
from stepgres_service.model import Flow, FlowSpec, Step, StepSpec, StepType
from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries

_SQL = load_queries("flows")


def flow_not_found(flow: str, meant: str | None = None) -> NotFound:
    """No flow, or inline plan, has this name; `meant` is the flow that probably was."""
    if meant is not None:
        message = f'flow: no flow is called "{flow}"; did you mean "{meant}"?'
    elif flow.startswith("plan:"):
        message = f'flow: no plan is called "{flow}": it went with its last run; send the plan itself in `plan`'
    else:
        message = f'flow: no flow is called "{flow}"; create it, or list the flows to see which there are'
    return NotFound(message, reason=Reason.FLOW_NOT_FOUND, field="flow")


def _step_json(step: StepSpec) -> str:
    fields = {
        "slug": step.slug,
        "depends_on": step.depends_on,
        "step_type": step.step_type.value,
        "initial_tasks": step.initial_tasks,
        "max_attempts": step.max_attempts,
        "timeout_s": step.timeout_s,
        "base_delay_s": step.base_delay_s,
        "max_delay_s": step.max_delay_s,
        "queue": step.queue,
        "handler": step.handler,
    }
    # Params go in as the text they are: parsed and written again they could come out longer, or other.
    return f'{json.dumps(fields)[:-1]}, "params": {step.params or "null"}}}'


def _steps_json(steps: Sequence[StepSpec]) -> str:
    return f"[{','.join(map(_step_json, steps))}]"


class FlowStore:
    """Reads and writes definitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def define(self, spec: FlowSpec, *, new_version: bool, default_queue: str | None = None) -> tuple[Flow, bool]:
        """Creates a flow, or finds the version that equals it.

        Args:
            spec: checked already; every step stands behind its dependencies.
            new_version: makes a version of another shape instead of refusing it.
            default_queue: shared queue of a flow that is made without one; None = a queue of its own.

        Returns:
            The version, and whether it was created.

        Raises:
            AlreadyExists: the flow has another shape; the message lists the differences.
        """
        async with self._database.transaction() as conn:
            cursor = await conn.execute(
                _SQL["define_flow"],
                (
                    spec.slug,
                    spec.max_attempts,
                    spec.timeout_s,
                    spec.base_delay_s,
                    spec.max_delay_s,
                    spec.queue,
                    _steps_json(spec.steps),
                    new_version,
                    default_queue,
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            (flow,) = await self._read(conn, [row[0]])
        return flow, bool(row[1])

    async def add_step(self, flow: str, step: StepSpec, max_steps: int) -> tuple[Step, bool, int]:
        """Appends a step to the latest version.

        Args:
            flow: slug of the flow.
            step: as its author wrote it.
            max_steps: steps that the version may have.

        Returns:
            The step, whether it was created, and the version that has it.

        Raises:
            NotFound: no such flow.
            AlreadyExists: the step exists with another shape.
            InvalidArgument: it breaks a rule of the flow.
        """
        async with self._database.transaction() as conn:
            # Locked first, so that `existed` still holds when the step is added.
            await conn.execute(_SQL["lock_flow"], (flow,))
            row = await (await conn.execute(_SQL["latest_version"], (step.slug, flow))).fetchone()
            version_id, version, count, existed = row or (None, 0, 0, False)
            if count >= max_steps and not existed:
                message = f'flow "{flow}" has {count} steps, at most {max_steps} are allowed; split it into two flows'
                raise InvalidArgument(Violation("step", Reason.TOO_MANY_STEPS, message))
            cursor = await conn.execute(
                _SQL["add_step"],
                (
                    flow,
                    step.slug,
                    list(step.depends_on),
                    step.step_type.value,
                    step.initial_tasks,
                    step.max_attempts,
                    step.timeout_s,
                    step.handler,
                    step.params,
                    step.base_delay_s,
                    step.max_delay_s,
                    step.queue,
                ),
            )
            added = await cursor.fetchone()
            assert added is not None
            assert version_id is not None
            (stored,) = await self._read(conn, [version_id])
        return stored.steps[added[0]], not existed, version

    async def get(self, flow: str, version: int = 0) -> Flow:
        """Reads a version with its steps; 0 = the latest.

        Raises:
            NotFound: no such flow, or no such version.
        """
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["version_of"], (version, version, flow))).fetchone()
            # Read by a second statement: nothing is found when the flow was deleted between the two.
            found = await self._read(conn, [row[0]]) if row is not None and row[0] is not None else []
        if row is not None and row[0] is None:
            raise NotFound(
                f'version: flow "{flow}" has no version {version}; its latest is {row[1]}',
                reason=Reason.FLOW_VERSION_NOT_FOUND,
                field="version",
            )
        if not found:
            raise flow_not_found(flow)
        return found[0]

    async def versions(self, flow: str) -> list[int]:
        """Numbers of a flow's versions, ascending."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(_SQL["versions"], (flow,))
            return [row[0] for row in await cursor.fetchall()]

    async def list_flows(self, prefix: str, after: str, limit: int, *, with_steps: bool) -> list[Flow]:
        """A page of flows in their latest versions, by slug bytewise, behind `after`; of plans when the prefix asks for them."""
        query = _SQL["list_plans" if prefix.startswith("plan:") else "list_flows"]
        async with self._database.connection() as conn:
            rows = await (await conn.execute(query, (prefix, after, limit))).fetchall()
            return await self._read(conn, [row[0] for row in rows], with_steps=with_steps)

    async def names_like(self, flow: str) -> list[str]:
        """Slugs of flows that are about as long as this one, at most 1,000; for hints."""
        async with self._database.connection() as conn:
            rows = await (await conn.execute(_SQL["names_like"], {"flow": flow})).fetchall()
            return [row[0] for row in rows]

    async def load_versions(self, version_ids: Sequence[int]) -> dict[int, Flow]:
        """Reads versions by their keys; those of deleted flows are left out."""
        async with self._database.connection() as conn:
            return {flow.version_id: flow for flow in await self._read(conn, version_ids)}

    async def delete(self, flow: str, *, force: bool) -> int:
        """Deletes a flow; returns how many runs were cancelled.

        Raises:
            NotFound: no such flow.
            FailedPrecondition: runs are active and force is False.
        """
        async with self._database.transaction() as conn:
            row = await (await conn.execute(_SQL["delete_flow"], (flow, force))).fetchone()
        assert row is not None
        return int(row[0])

    async def prune_deleted_runs(self, limit: int = 500) -> int:
        """Deletes rows of at most `limit` runs whose flow is gone; returns of how many."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["prune_deleted_runs"], (limit,))).fetchone()
        assert row is not None
        return int(row[0])

    async def prune_ended_runs(self, age_s: float, limit: int = 500) -> int:
        """Deletes rows of at most `limit` runs that ended `age_s` seconds ago or earlier; returns of how many."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["prune_ended_runs"], (age_s, limit))).fetchone()
        assert row is not None
        return int(row[0])

    async def prune_plans(self) -> int:
        """Removes inline plans that no run uses; returns how many it looked at."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["prune_plans"])).fetchone()
        assert row is not None
        return int(row[0])

    async def prune_names(self) -> int:
        """Forgets routes of scopes, and workers, that nothing refers to any more; returns how many."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["prune_names"])).fetchone()
        assert row is not None
        return int(row[0])

    async def _read(
        self, conn: AsyncConnection[Any], version_ids: Sequence[int], *, with_steps: bool = True
    ) -> list[Flow]:
        flows = await (await conn.execute(_SQL["flows_by_version"], (list(version_ids),))).fetchall()
        steps: dict[int, list[Step]] = {}
        if with_steps:
            cursor = await conn.execute(_SQL["steps_by_version"], (list(version_ids),))
            for row in await cursor.fetchall():
                steps.setdefault(row[0], []).append(_step(row))
        # A step may have been added since the flows were read: then the steps themselves are the count.
        return [_flow(row, tuple(found := steps.get(row[0], ())), len(found) or row[10]) for row in flows]


def _flow(row: Sequence[Any], steps: tuple[Step, ...], step_count: int) -> Flow:
    spec = FlowSpec(
        slug=row[1],
        max_attempts=row[4],
        timeout_s=row[5],
        base_delay_s=row[6],
        max_delay_s=row[7],
        queue=row[8],
    )
    return Flow(spec, row[2], row[0], row[3], steps, step_count, row[9])


def _step(row: Sequence[Any]) -> Step:
    spec = StepSpec(
        slug=row[2],
        depends_on=tuple(row[13]),
        step_type=StepType(row[3]),
        initial_tasks=row[4],
        handler=row[10],
        params=row[11],
        max_attempts=row[5],
        timeout_s=row[6],
        base_delay_s=row[7],
        max_delay_s=row[8],
        queue=row[9],
    )
    return Step(spec, row[1], row[12])
