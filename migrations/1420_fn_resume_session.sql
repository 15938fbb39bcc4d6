-- Moves a session to a new stream, at this coordinator or another.
--   session: open -> open with epoch + 1 and a new lease; its tasks that the worker does not list go back to the queue
--   at once and count as neither lost nor failed. Tokens stay valid: they name the session, not the epoch.
--   The p_held_ arrays run side by side: the leases that the worker still has.
--   Returns no row when the session is closed, unknown, or not the caller's (instance hash): its leases are lost.
--   held_item: null in one row that always comes; else a position of p_held_* whose lease is the session's still,
--   with the seconds since its hand-out.
--   Locks: session for update, then the runs of its tasks. Raises 55P03 when somebody keeps one for 3 s: a pool full
--   of resumes that wait would leave no connection to renew with.
create or replace function pgflow.resume_session(
    p_session_id uuid, p_instance_hash bytea, p_coordinator_id uuid, p_lease_ms int, p_grace_ms int,
    p_held_run_ids uuid[], p_held_step_indexes smallint[], p_held_task_indexes int[], p_held_lease_seqs int[]
) returns table (epoch int, worker_id int, held_item int, age_s float8, version_id int)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '3s'
as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_session record;
begin
    perform 1 from pgflow.sessions where session_id = p_session_id for update;
    v_now := pgflow.now();
    update pgflow.sessions as s
    set epoch = s.epoch + 1, coordinator_id = p_coordinator_id, grace_ms = p_grace_ms,
        lease_until = v_now + p_lease_ms * interval '1 millisecond', seen_at = v_now, credits = 0
    where s.session_id = p_session_id and s.instance_hash = p_instance_hash and s.closed_at is null
    returning s.epoch, s.worker_id into v_session;
    if not found then
        return;
    end if;

    perform pgflow.return_leases(array[p_session_id], false, 5, p_held_run_ids, p_held_step_indexes,
                                 p_held_task_indexes, p_held_lease_seqs);

    return query
    select v_session.epoch, v_session.worker_id, null::int, null::float8, null::int
    union all
    select v_session.epoch, v_session.worker_id, u.item::int, extract(epoch from v_now - t.started_at)::float8,
           r.version_id
    from unnest(p_held_run_ids, p_held_step_indexes, p_held_task_indexes, p_held_lease_seqs)
        with ordinality as u (run_id, step_index, task_index, lease_seq, item)
    join pgflow.step_tasks as t
        on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
           and t.lease_seq = u.lease_seq and t.session_id is not distinct from p_session_id
           and t.status = 'started'
    join pgflow.runs as r on r.run_id = t.run_id;
end
$$;
