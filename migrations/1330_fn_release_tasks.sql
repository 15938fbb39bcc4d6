-- Takes back tasks that their session did not execute.
--   task: started -> queued; burns no attempt. Where the fence does not hold nothing changes.
--   p_undelivered: true sends at once (the worker never had the task); false waits 1 s, doubled for each hand-back in
--   a row up to 60 s, so that a worker that hands back whatever it gets cannot spin.
--   recorded_items: positions that were taken back. Caller holds the runs' locks (record_results).
create or replace function pgflow.release_tasks(
    p_items int[], p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_lease_seqs int[],
    p_session_ids uuid[], p_undelivered boolean[],
    out recorded_items int[], out ready_routes int[]
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_back record;
begin
    select array_agg(item) as items, array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes,
           array_agg(task_index) as task_indexes, array_agg(delay_s) as delays_s, array_agg(releases) as releases,
           array_fill(0, array[count(*)::int]) as zeros
    into v_back
    from (
        select distinct on (t.run_id, t.step_index, t.task_index)
               u.item, t.run_id, t.step_index, t.task_index,
               case when u.undelivered then 0 else least(2.0 ^ least(t.releases, 6), 60) end as delay_s,
               case when u.undelivered then 0 else 1 end as releases
        from unnest(p_items, p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_undelivered)
            as u (item, run_id, step_index, task_index, lease_seq, session_id, undelivered)
        join pgflow.step_tasks as t
            on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
               and t.lease_seq = u.lease_seq
               and t.session_id is not distinct from u.session_id and t.status = 'started'
        order by t.run_id, t.step_index, t.task_index, u.item
    ) as fenced;
    recorded_items := v_back.items;
    if v_back.items is not null then
        ready_routes := pgflow.requeue_tasks(v_back.run_ids, v_back.step_indexes, v_back.task_indexes, v_back.delays_s,
                                             v_back.zeros, v_back.zeros, v_back.releases, true);
    end if;
end
$$;
