-- Sends tasks whose rows exist: the next of a map's window, promoted retries, returned leases.
--   tasks: queued without message -> queued with message. p_first: see send_tasks. Caller holds the locks of their runs.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.enqueue_tasks(uuid[], smallint[], int[], int[]);
create or replace function pgflow.enqueue_tasks(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_route_ids int[], p_first boolean default false
) returns void
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_message_ids bigint[] := pgflow.send_tasks(p_run_ids, p_step_indexes, p_task_indexes, p_route_ids, p_first);
begin
    update pgflow.step_tasks as t
    set message_id = u.message_id, available_at = null
    from unnest(p_run_ids, p_step_indexes, p_task_indexes, v_message_ids)
        as u (run_id, step_index, task_index, message_id)
    where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index;
end
$$;
