-- Puts tasks back that are started no more: at once, or after a delay.
--   task: started -> queued. p_delays_s: seconds to wait, 0 = send now; the promoter sends the others.
--   p_*: columns to raise, side by side with the tasks: failures, lost leases, hand-backs in a row.
--   p_first: those that are sent now had their turn and lost it by no fault of theirs: they go in front (send_tasks).
--   Returns the routes that have a message more. Caller holds the runs' locks and has checked the fence.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.requeue_tasks(uuid[], smallint[], int[], float8[], int[], int[], int[]);
create or replace function pgflow.requeue_tasks(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_delays_s float8[],
    p_failures int[], p_lost int[], p_releases int[], p_first boolean
) returns int[]
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_route_ids int[];
begin
    update pgflow.step_tasks as t
    set status = 'queued', session_id = null, queued_at = v_now,
        failures = t.failures + u.failures, lost_leases = t.lost_leases + u.lost,
        releases = case when u.releases > 0 then t.releases + u.releases else 0 end,
        available_at = case when u.delay_s > 0 then v_now + make_interval(secs => u.delay_s) end
    from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_delays_s, p_failures, p_lost, p_releases)
        as u (run_id, step_index, task_index, delay_s, failures, lost, releases)
    where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index;

    select array_agg(u.run_id), array_agg(u.step_index), array_agg(u.task_index), array_agg(s.route_id)
    into p_run_ids, p_step_indexes, p_task_indexes, v_route_ids
    from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_delays_s) as u (run_id, step_index, task_index, delay_s)
    join pgflow.step_states as s on s.run_id = u.run_id and s.step_index = u.step_index
    where u.delay_s = 0;
    if p_run_ids is not null then
        perform pgflow.enqueue_tasks(p_run_ids, p_step_indexes, p_task_indexes, v_route_ids, p_first);
    end if;
    return v_route_ids;
end
$$;
