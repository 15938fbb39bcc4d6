"""Tasks as people look at them: lists, one task with its payloads, its attempts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stepgres_service.model import Task, TaskStatus
from stepgres_service.store.pinned_reads import fetch_pinned
from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries
from stepgres_service.store.run_rows import attempt_of, task_of
from stepgres_service.store.runs import FULL_PAGE_SIZE, MAX_RESPONSE_BYTES

_SQL = load_queries("task_reads")


class TaskReads:
    """Reads tasks.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_step(self, run_id: UUID, step: str) -> tuple[bool, int | None]:
        """Looks for a step of a run.

        Args:
            run_id: the run.
            step: slug of the step; empty when only the run is looked for.

        Returns:
            Whether the run exists, and the step's index; None when the run has no such step.
        """
        rows = await self._fetch("find_step", {"run_id": run_id, "step": step})
        return bool(rows), rows[0].step_index if rows else None

    async def step_slugs(self, run_id: UUID) -> list[str]:
        """Slugs of a run's steps, by index; empty without a run."""
        return [row.step_slug for row in await self._fetch("run_steps", {"run_id": run_id})]

    async def list_tasks(
        self,
        run_id: UUID,
        *,
        step_index: int | None,
        status: TaskStatus | None,
        after: tuple[int, int],
        limit: int,
        full: bool,
    ) -> tuple[list[Task], bool]:
        """Reads a page of tasks by step and index.

        Args:
            run_id: the run.
            step_index: only tasks of this step; None = all.
            status: only tasks in this status; None = all.
            after: step and index of the last task of the page before; (-1, -1) for the first page.
            limit: most tasks on the page.
            full: with payloads; such a page ends earlier when it becomes too large.

        Returns:
            The tasks, and whether there are more.
        """
        rows = await self._fetch(
            "list_tasks",
            {
                "run_id": run_id,
                "step_index": step_index,
                "task_index": None,
                "status": status.value if status else None,
                "after_step": after[0],
                "after_task": after[1],
                "limit": min(limit, FULL_PAGE_SIZE) if full else limit,
                "full": full,
                "max_bytes": MAX_RESPONSE_BYTES,
            },
        )
        return [task_of(row) for row in rows], bool(rows) and rows[0].page_count > len(rows)

    async def get_task(self, run_id: UUID, step_index: int, task_index: int) -> Task | None:
        """Reads a task with payloads and attempts; None when there is none."""
        key = {"run_id": run_id, "step_index": step_index, "task_index": task_index}
        rows = await self._fetch(
            "list_tasks",
            key | {"status": None, "after_step": -1, "after_task": -1, "limit": 1, "full": True, "max_bytes": 0},
        )
        if not rows:
            return None
        attempts = await self._fetch("list_attempts", key)
        return task_of(rows[0], tuple(attempt_of(row) for row in attempts))

    async def _fetch(self, query: str, parameters: dict[str, Any]) -> list[Any]:
        async with self._database.connection() as conn:
            return await fetch_pinned(conn, _SQL[query], parameters)
