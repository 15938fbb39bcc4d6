-- Sends retries whose delay is over, at most p_limit.
--   task: queued and waiting -> queued with a message. Returns how many, and the milliseconds until the next is due
--   (null: none waits). Locks: runs SKIP LOCKED and then looks again, so a run that is being cancelled is left alone.
create or replace function pgflow.promote_tasks(p_limit int default 500, out promoted int, out next_due_ms float8)
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
    v_run_ids uuid[];
    v_task record;
begin
    v_run_ids := array(
        select run_id from pgflow.runs
        where run_id = any(array(
            select t.run_id from pgflow.step_tasks as t
            where t.available_at <= v_now order by t.available_at limit p_limit
        ))
        order by run_id for no key update skip locked
    );
    select array_agg(due.run_id) as run_ids, array_agg(due.step_index) as step_indexes,
           array_agg(due.task_index) as task_indexes, array_agg(s.route_id) as route_ids
    into v_task
    from (
        select t.run_id, t.step_index, t.task_index from pgflow.step_tasks as t
        where t.available_at <= v_now and t.run_id = any(v_run_ids) and t.status = 'queued'
        order by t.available_at limit p_limit
        for no key update
    ) as due
    join pgflow.step_states as s on s.run_id = due.run_id and s.step_index = due.step_index;
    if v_task.run_ids is not null then
        perform pgflow.enqueue_tasks(v_task.run_ids, v_task.step_indexes, v_task.task_indexes, v_task.route_ids);
    end if;
    promoted := coalesce(cardinality(v_task.run_ids), 0);
    select extract(epoch from min(available_at) - v_now) * 1000 into next_due_ms
    from pgflow.step_tasks where available_at is not null;
end
$$;
