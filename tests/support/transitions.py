"""The transitions as a test calls them, and what must hold after any of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import namedtuple_row

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

    async def lease(self, session_id: UUID, credits: int = 1000, *, routes: Sequence[int] | None = None) -> list[Lease]:
        """Hands out tasks to a session: of some routes, or of any."""
        if routes is None:
            routes = [row.route_id for row in await self.rows("select route_id from pgflow.routes order by random()")]
        leased = await self.rows(
            "select * from pgflow.lease_tasks(%s::int[], %s::uuid[], %s::int[], %s::int[])",
            list(routes), [session_id], [self._workers[session_id]], [credits],
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

    async def messages(self) -> list[tuple[int, int, UUID, int, int]]:
        """Every message: (queue, message, run, step, task)."""
        found = []
        for (queue_id,) in await self.rows("select queue_id from pgflow.queues"):
            rows = await self.rows(f"select msg_id, message from pgmq.q_pgflow_{int(queue_id)}")
            found += [(queue_id, m.msg_id, UUID(m.message["r"]), m.message["s"], m.message["i"]) for m in rows]
        return found

    async def assert_invariants(self) -> None:
        """Everything that must hold between any two transactions."""
        for name, query in _NEVER.items():
            found = await self.rows(query)
            assert not found, f"{name}: {found[:5]}"
        runnable = {
            (row.queue_id, row.message_id, row.run_id, row.step_index, row.task_index)
            for row in await self.rows(_RUNNABLE)
        }
        messages = await self.messages()
        assert len(messages) == len(set(messages)) == len(runnable), (len(messages), len(runnable))
        assert set(messages) == runnable


_NEVER = {
    "open work under a terminal run": """
        select r.run_id, r.status, t.step_index, t.task_index, t.status as task_status from pgflow.runs as r
        join pgflow.step_tasks as t using (run_id)
        where r.status <> 'started' and t.status in ('queued', 'started')""",
    "an open step under a terminal run": """
        select r.run_id, r.status, s.step_index, s.status as step_status from pgflow.runs as r join pgflow.step_states as s using (run_id)
        where r.status <> 'started' and s.status in ('created', 'started')""",
    "a started run without anything open": """
        select r.run_id from pgflow.runs as r where r.status = 'started' and not exists (
            select from pgflow.step_tasks as t where t.run_id = r.run_id and t.status in ('queued', 'started')
        ) and not exists (select from pgflow.map_expansions as e where e.run_id = r.run_id)""",
    "remaining_steps that does not count the steps": """
        select r.run_id, r.remaining_steps from pgflow.runs as r where r.remaining_steps <> (
            select count(*) from pgflow.step_states as s where s.run_id = r.run_id and s.status <> 'completed')""",
    "remaining_tasks that does not count the tasks": """
        select s.run_id, s.step_index, s.remaining_tasks from pgflow.step_states as s
        where s.initial_tasks is not null and s.status <> 'created' and s.remaining_tasks <> s.initial_tasks - (
            select count(*) from pgflow.step_tasks as t
            where t.run_id = s.run_id and t.step_index = s.step_index and t.status = 'completed')""",
    "remaining_deps that does not count the dependencies": """
        select s.run_id, s.step_index, s.remaining_deps from pgflow.step_states as s join pgflow.runs as r using (run_id)
        where r.status = 'started' and s.remaining_deps <> (
            select count(*) from pgflow.workflow_step_dependencies_def as e
            join pgflow.step_states as d on d.run_id = s.run_id and d.step_index = e.dep_index
            where e.version_id = r.version_id and e.step_index = s.step_index and d.status <> 'completed')""",
    "output_bytes that do not count the outputs": """
        select s.run_id, s.step_index, s.output_bytes from pgflow.step_states as s join pgflow.runs as r using (run_id)
        where r.status = 'started' and s.output_bytes <> coalesce(octet_length(s.output::text), (
            select sum(octet_length(t.output::text)) from pgflow.step_tasks as t
            where t.run_id = s.run_id and t.step_index = s.step_index), 0)""",
    "input_bytes that do not count the outputs of the dependencies": """
        select s.run_id, s.step_index, s.input_bytes from pgflow.step_states as s join pgflow.runs as r using (run_id)
        where r.status = 'started' and s.input_bytes <> octet_length(r.input::text) + (
            select coalesce(sum(d.output_bytes), 0) from pgflow.workflow_step_dependencies_def as e
            join pgflow.step_states as d on d.run_id = s.run_id and d.step_index = e.dep_index
            where e.version_id = r.version_id and e.step_index = s.step_index and d.status = 'completed')""",
    "a map's window that is not as wide as it should be": """
        select s.run_id, s.step_index, s.next_index from pgflow.step_states as s
        where s.is_map and s.status = 'started' and s.next_index <> least(
            s.expanded_count, s.initial_tasks - s.remaining_tasks + 1000)""",
    "a session on a task that is not started": """
        select * from pgflow.step_tasks where (session_id is not null) <> (status = 'started')""",
    "a step newer than its run": """
        select s.* from pgflow.step_states as s join pgflow.runs as r using (run_id) where s.revision > r.revision""",
    "attempts beyond the limit": """
        select t.* from pgflow.step_tasks as t join pgflow.runs as r using (run_id)
        join pgflow.workflow_versions as v using (version_id)
        where t.failures > v.max_attempts""",
}

_RUNNABLE = """
    select r.queue_id, t.message_id, t.run_id, t.step_index, t.task_index
    from pgflow.step_tasks as t join pgflow.step_states as s using (run_id, step_index)
    join pgflow.routes as r using (route_id)
    where t.status = 'queued' and t.available_at is null and (not s.is_map or t.task_index < s.next_index)"""
