"""The transitions as a test calls them, and what must hold after any of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import namedtuple_row

from tests.support.invariants import Message, assert_invariants, messages

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Lease:
    """A task in the hands of a session."""

    session_id: UUID
    run_id: UUID
    step_index: int
    task_index: int
    lease_seq: int
    attempt: int
    input: str


class Transitions:
    """Calls the SQL functions on one connection.

    Args:
        conn: in autocommit.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self._workers: dict[UUID, int] = {}

    async def rows(self, query: Any, *arguments: Any) -> list[Any]:
        """Rows of a query."""
        cursor = self.conn.cursor(row_factory=namedtuple_row)
        await cursor.execute(query, arguments)
        return await cursor.fetchall() if cursor.description else []

    async def define(
        self,
        slug: str,
        *,
        maps: Sequence[str] = (),
        max_attempts: int = 3,
        base_delay_s: int = 0,
        max_delay_s: int | None = None,
        **steps: Sequence[str],
    ) -> None:
        """Creates a flow, without retry delays unless told: define("etl", fetch=[], save=["fetch"])."""
        await self.rows(
            "select pgflow.create_flow(%s, p_max_attempts => %s, p_base_delay_s => %s, p_max_delay_s => %s)",
            slug, max_attempts, base_delay_s, max_delay_s,
        )  # fmt: skip
        for step, depends_on in steps.items():
            kind = "map" if step in maps else "single"
            await self.rows("select pgflow.add_step(%s, %s, %s::text[], %s)", slug, step, list(depends_on), kind)

    async def start(self, slug: str, input: Any = None, *, scope: str = "") -> UUID:
        """Starts a run."""
        text = input if isinstance(input, str) else json.dumps({} if input is None else input)
        (run,) = await self.rows("select run_id from pgflow.start_run(%s, %s::json, p_scope => %s)", slug, text, scope)
        return run.run_id  # type: ignore[no-any-return]

    async def start_many(self, slug: str, count: int, input: Any = None) -> list[UUID]:
        """Starts runs in one batch."""
        return [row.run_id for row in await self.start_runs([(slug, input, None)] * count)]

    async def start_runs(self, items: Sequence[tuple[str, Any, str | None]]) -> list[Any]:
        """Starts (flow, input, idempotency key) in one batch; returns the verdicts."""
        inputs = [json.dumps({} if input is None else input) for _, input, _ in items]
        return await self.rows(
            "select * from pgflow.start_runs(%s::text[], array_fill(0, array[%s]), %s::text[],"
            " array_fill(''::text, array[%s]), %s::text[], %s::bytea[],"
            " array(select pgflow.new_run_id() from generate_series(1, %s)), array_fill(null::text, array[%s]))",
            [slug for slug, _, _ in items], len(items), inputs, len(items), [key for _, _, key in items],
            [text.encode() for text in inputs], len(items), len(items),
        )  # fmt: skip

    async def open_session(self, lease_ms: int = 600_000) -> UUID:
        """Opens a session."""
        session_id = uuid4()
        (row,) = await self.rows(
            "select pgflow.open_session(%s, 'secret', %s, 'test', 'test', %s, 0) as worker_id",
            session_id, uuid4(), lease_ms,
        )  # fmt: skip
        self._workers[session_id] = row.worker_id
        return session_id

    async def lease(
        self,
        session_id: UUID,
        credits: int = 1000,
        *,
        routes: Sequence[int] | None = None,
        from_ids: Sequence[int] | None = None,
    ) -> list[Lease]:
        """Hands out tasks to a session: of some routes, each from a message on, or of any."""
        if routes is None:
            routes = [row.route_id for row in await self.rows("select route_id from pgflow.routes order by random()")]
        leased = await self.rows(
            "select * from pgflow.lease_tasks(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::bigint[])",
            list(routes), [session_id], [self._workers[session_id]], [credits], from_ids,
        )  # fmt: skip
        return [
            Lease(session_id, row.run_id, row.step_index, row.task_index, row.lease_seq, row.attempt, row.input)
            for row in leased
        ]

    async def record(
        self, *results: tuple[Lease, int, str | None], retry_after_ms: int | None = None, **limits: int
    ) -> list[int]:
        """Records (lease, outcome, output or message) as one batch; returns the verdicts."""
        leases = [lease for lease, _, _ in results]
        failed = [text if outcome == 2 else None for _, outcome, text in results]
        extra = "".join(f", {name} => {value}" for name, value in limits.items())
        (row,) = await self.rows(
            "select verdicts from pgflow.record_results(%s::uuid[], %s::smallint[], %s::int[], %s::int[], %s::uuid[],"
            " %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[], %s::bigint[]"
            + extra + ")",
            [lease.run_id for lease in leases],
            [lease.step_index for lease in leases],
            [lease.task_index for lease in leases],
            [lease.lease_seq for lease in leases],
            [lease.session_id for lease in leases],
            [outcome for _, outcome, _ in results],
            [text if outcome == 1 else None for _, outcome, text in results],
            failed, failed, failed,
            [text != "final" for text in failed],
            [retry_after_ms] * len(results),
        )  # fmt: skip
        return list(row.verdicts)

    async def complete(self, *leases: Lease, output: str = "1") -> list[int]:
        """Completes leases with one output."""
        return await self.record(*((lease, 1, output) for lease in leases))

    async def cancel(self, *run_ids: UUID) -> list[bool]:
        """Cancels runs; tells of each whether it was running, in the order of ids."""
        rows = await self.rows("select * from pgflow.cancel_runs(%s::uuid[]) order by run_id", list(run_ids))
        return [row.cancelled for row in rows]

    async def retry(self, *run_ids: UUID, **limits: int) -> list[str]:
        """Retries runs; returns the verdict of each that exists, in the order of ids."""
        extra = "".join(f", {name} => {value}" for name, value in limits.items())
        rows = await self.rows(
            "select * from pgflow.retry_runs(%s::uuid[]" + extra + ") order by run_id", list(run_ids)
        )
        return [row.verdict for row in rows]

    async def close(self, session_id: UUID, *, lost: bool, max_lost_leases: int = 5) -> int:
        """Ends a session of epoch 1; returns the number of tasks that went back."""
        (row,) = await self.rows(
            "select pgflow.close_sessions(array[%s]::uuid[], array[1], %s, %s) as count",
            session_id, lost, max_lost_leases,
        )  # fmt: skip
        return int(row.count)

    async def promote(self) -> int:
        """Lets every delay be over and promotes."""
        await self.rows("update pgflow.step_tasks set available_at = pgflow.now() where available_at is not null")
        (row,) = await self.rows("select promoted from pgflow.promote_tasks()")
        return int(row.promoted)

    async def expand(self, chunk: int = 10_000) -> int:
        """Writes all rows of large maps; returns the number of chunks."""
        chunks = 0
        while (await self.rows("select pgflow.expand_maps(%s) as more", chunk))[0].more:
            chunks += 1
        return chunks

    async def run(self, run_id: UUID) -> Any:
        """The row of a run."""
        (row,) = await self.rows("select * from pgflow.runs where run_id = %s", run_id)
        return row

    async def states(self, run_id: UUID) -> dict[str, str]:
        """Status of each step."""
        rows = await self.rows(
            "select s.step_slug, t.status from pgflow.step_states as t join pgflow.runs as r using (run_id)"
            " join pgflow.workflow_steps as s on s.version_id = r.version_id and s.step_index = t.step_index"
            " where run_id = %s", run_id,
        )  # fmt: skip
        return {row.step_slug: row.status for row in rows}

    async def messages(self) -> list[Message]:
        """Every message of every queue."""
        return await messages(self.conn)

    async def assert_invariants(self) -> None:
        """Everything that must hold between any two transactions."""
        await assert_invariants(self.conn)
