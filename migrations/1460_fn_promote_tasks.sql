-- Sends retries whose delay is over, at most p_limit.
--   task: queued and waiting -> queued with a message. Returns how many, and the milliseconds until the next is due
--   (null: none waits). Locks: runs SKIP LOCKED and then looks again, so a run that is being cancelled is left alone,
--   and hides no other. When others have all runs with due tasks it waits for the first, 1 s at most: results lock
--   the run of a busy map nearly all the time, and its retries would wait until the map is done.
create or replace function pgflow.promote_tasks(p_limit int default 500, out promoted int, out next_due_ms float8)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '1s'
as $$
declare
    v_now timestamptz := pgflow.now();
    v_run_ids uuid[];
    v_task record;
begin
    v_run_ids := array(
        select distinct free.run_id
        from (
            select r.run_id
            from pgflow.step_tasks as t
            join pgflow.runs as r on r.run_id = t.run_id
            where t.available_at <= v_now
            order by t.available_at limit p_limit for no key update of r skip locked
        ) as free
    );
    if cardinality(v_run_ids) = 0 then
        v_run_ids := array(
            select t.run_id from pgflow.step_tasks as t where t.available_at <= v_now order by t.available_at limit 1
        );
        begin
            perform 1 from pgflow.runs where run_id = any(v_run_ids) for no key update;
        exception when lock_not_available then
            v_run_ids := '{}';
        end;
        -- Read after the wait: more may be due, and what is not is due sooner.
        v_now := pgflow.now();
    end if;
    select array_agg(due.run_id) as run_ids, array_agg(due.step_index) as step_indexes,
           array_agg(due.task_index) as task_indexes, array_agg(s.route_id) as route_ids
    into v_task
    from (
        select t.run_id, t.step_index, t.task_index from pgflow.step_tasks as t
        -- (`is true` keeps it from reading whole runs: a map may have many tasks and few that are due.)
        where t.available_at <= v_now and t.status = 'queued' and (t.run_id in (select unnest(v_run_ids))) is true
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
