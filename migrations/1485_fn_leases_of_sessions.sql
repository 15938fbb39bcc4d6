-- Lists the leases that sessions hold by the database's account; a coordinator compares it with its memory.
create or replace function pgflow.leases_of_sessions(p_session_ids uuid[])
returns table (session_id uuid, run_id uuid, step_index smallint, task_index int, lease_seq int)
language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select t.session_id, t.run_id, t.step_index, t.task_index, t.lease_seq
    from pgflow.step_tasks as t where t.session_id = any(p_session_ids);
end
$$;
