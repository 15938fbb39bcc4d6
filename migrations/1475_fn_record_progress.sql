-- Keeps what handlers last reported; the arrays run side by side. Reports whose lease is over change nothing.
create or replace function pgflow.record_progress(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_lease_seqs int[], p_session_ids uuid[],
    p_fractions real[], p_messages text[]
) returns void
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    insert into pgflow.task_progress (run_id, step_index, task_index, fraction, message, reported_at)
    select distinct on (t.run_id, t.step_index, t.task_index)
           t.run_id, t.step_index, t.task_index, u.fraction, u.message, pgflow.now()
    from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_fractions, p_messages)
        with ordinality as u (run_id, step_index, task_index, lease_seq, session_id, fraction, message, item)
    join pgflow.step_tasks as t
        on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
           and t.lease_seq = u.lease_seq
           and t.session_id is not distinct from u.session_id and t.status = 'started'
    order by t.run_id, t.step_index, t.task_index, u.item desc
    on conflict (run_id, step_index, task_index) do update
    set fraction = excluded.fraction, message = excluded.message, reported_at = excluded.reported_at;
end
$$;
