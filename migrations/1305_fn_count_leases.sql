-- Counts the tasks that sessions hold. Reads only; no row for a session that holds none.
create or replace function pgflow.count_leases(p_session_ids uuid[])
returns table (session_id uuid, task_count bigint)
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
    select e.session_id, count(distinct (e.run_id, e.step_index, e.task_index))
    from pgflow.lease_entries as e
    -- (`offset 0`: from what was handed out one look-up for each, by all of the key; planned while the tables were
    -- small, it might begin with all tasks.)
    cross join lateral (
        select t.session_id from pgflow.step_tasks as t
        where t.run_id = e.run_id and t.step_index = e.step_index and t.task_index = e.task_index offset 0
    ) as t
    where e.session_id = any(p_session_ids) and t.session_id is not distinct from e.session_id
    group by e.session_id;
end
$$;
