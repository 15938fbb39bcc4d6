"""What must hold in a database between any two transactions, whatever happened before."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row

Connection = psycopg.AsyncConnection[Any]


class Message(NamedTuple):
    """A message of a queue: the task that it stands for."""

    queue_id: int
    message_id: int
    run_id: UUID
    step_index: int
    task_index: int


async def assert_invariants(conn: Connection) -> None:
    """Looks at everything, and fails with what is wrong and the first rows of it.

    Args:
        conn: in autocommit; what others commit meanwhile is not seen.
    """
    async with conn.transaction():
        await conn.execute("set transaction isolation level repeatable read, read only")
        for name, query in _NEVER.items():
            found = await _rows(conn, query)
            assert not found, f"{name}: {found[:5]}"
        sent = await messages(conn)
        runnable = {Message(*row) for row in await _rows(conn, _RUNNABLE)}
    assert len(sent) == len(set(sent)), "a message that is there twice"
    assert set(sent) - runnable == set(), "messages of tasks that do not wait for a worker"
    assert runnable - set(sent) == set(), "tasks that wait for a worker and have no message"


async def messages(conn: Connection) -> list[Message]:
    """Every message of every queue."""
    found = []
    for (queue_id,) in await _rows(conn, "select queue_id from pgflow.queues"):
        rows = await _rows(conn, f"select msg_id, message from pgmq.q_pgflow_{int(queue_id)}")
        found += [Message(queue_id, m.msg_id, UUID(m.message["r"]), m.message["s"], m.message["i"]) for m in rows]
    return found


async def _rows(conn: Connection, query: Any) -> list[Any]:
    cursor = conn.cursor(row_factory=namedtuple_row)
    await cursor.execute(query)
    return await cursor.fetchall()


_NEVER = {
    "open work under a terminal run": """
        select r.run_id, r.status, t.step_index, t.task_index, t.status as task_status from pgflow.runs as r
        join pgflow.step_tasks as t using (run_id)
        where r.status <> 'started' and t.status in ('queued', 'started')""",
    "an open step under a terminal run": """
        select r.run_id, r.status, s.step_index, s.status as step_status from pgflow.runs as r join pgflow.step_states as s using (run_id)
        where r.status <> 'started' and s.status in ('created', 'started')""",
    "rows of a run that is not there": """
        select run_id, step_index, 'step' as row from pgflow.step_states where run_id not in (select run_id from pgflow.runs)
        union all select run_id, step_index, 'task' from pgflow.step_tasks where run_id not in (select run_id from pgflow.runs)
        union all select run_id, step_index, 'error' from pgflow.task_errors where run_id not in (select run_id from pgflow.runs)
        union all select run_id, step_index, 'progress' from pgflow.task_progress where run_id not in (select run_id from pgflow.runs)
        union all select run_id, step_index, 'expansion' from pgflow.map_expansions where run_id not in (select run_id from pgflow.runs)""",
    "a task on a route that is not there": """
        select t.run_id, t.step_index, t.task_index from pgflow.step_tasks as t join pgflow.step_states as s using (run_id, step_index)
        where t.status in ('queued', 'started') and s.route_id not in (select route_id from pgflow.routes)""",
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
    "a step that has started before its dependencies, or has not started behind them": """
        select s.run_id, s.step_index, s.status, s.remaining_deps from pgflow.step_states as s
        join pgflow.runs as r using (run_id)
        where r.status = 'started' and (s.status = 'created') <> (s.remaining_deps > 0)""",
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
    "a lease that its session's account does not have": """
        select t.session_id, t.run_id, t.step_index, t.task_index from pgflow.step_tasks as t
        where t.session_id is not null and not exists (
            select from pgflow.lease_entries as e where e.session_id = t.session_id and e.run_id = t.run_id
            and e.step_index = t.step_index and e.task_index = t.task_index)""",
    "an account that no sweep finds": """
        select b.session_id, b.batch_id from pgflow.lease_batches as b
        where b.session_id not in (select session_id from pgflow.sessions)""",
    "a step newer than its run": """
        select s.* from pgflow.step_states as s join pgflow.runs as r using (run_id) where s.revision > r.revision""",
    "attempts beyond the limit": """
        select t.* from pgflow.step_tasks as t join pgflow.runs as r using (run_id)
        join pgflow.workflow_versions as v using (version_id)
        join pgflow.workflow_steps as s on s.version_id = r.version_id and s.step_index = t.step_index
        where t.failures > coalesce(s.max_attempts, v.max_attempts)""",
}

_RUNNABLE = """
    select r.queue_id, t.message_id, t.run_id, t.step_index, t.task_index
    from pgflow.step_tasks as t join pgflow.step_states as s using (run_id, step_index)
    join pgflow.routes as r using (route_id)
    where t.status = 'queued' and t.available_at is null and (not s.is_map or t.task_index < s.next_index)"""
