-- Fails runs, each by one task of one step, and ends all that is open in them.
--   run: started -> failed; step: started, completed -> failed; task: completed -> failed (a task that the engine
--   refuses after the fact: its output is no array, or too large; one that failed by itself is failed already).
--   The arrays run side by side; of several failures of one run the first counts. A task index of null means the
--   step's last task. p_raised_run_ids: runs whose revision this transaction has raised already: it is raised once.
--   Caller holds the runs' locks; runs that have ended stay as they are.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.fail_runs(uuid[], smallint[], int[], text[], text[]);
create or replace function pgflow.fail_runs(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_codes text[], p_messages text[],
    p_raised_run_ids uuid[] default '{}'
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
    v_now constant timestamptz := pgflow.now();
    v_run_ids uuid[];
    v_step_indexes smallint[];
    v_task_indexes int[];
    v_codes text[];
    v_messages text[];
    v_refused_run_ids uuid[];
    v_refused_step_indexes smallint[];
begin
    select array_agg(run_id), array_agg(step_index), array_agg(task_index), array_agg(code), array_agg(message)
    into v_run_ids, v_step_indexes, v_task_indexes, v_codes, v_messages
    from (
        select distinct on (u.run_id)
               u.run_id, u.step_index, greatest(0, coalesce(u.task_index, s.initial_tasks - 1)) as task_index,
               u.code, u.message
        from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_codes, p_messages)
            with ordinality as u (run_id, step_index, task_index, code, message, item)
        join pgflow.runs as r on r.run_id = u.run_id and r.completed_at is null
        join pgflow.step_states as s on s.run_id = u.run_id and s.step_index = u.step_index
        order by u.run_id, u.item
    ) as first_failure;
    if v_run_ids is null then
        return;
    end if;

    with refused as (
        update pgflow.step_tasks as t
        set status = 'failed', failures = t.failures + 1, output = null, completed_at = v_now
        from unnest(v_run_ids, v_step_indexes, v_task_indexes) as u (run_id, step_index, task_index)
        where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
          and t.status = 'completed'
        returning t.run_id, t.step_index, t.task_index, t.lease_seq, t.failures, t.worker_id, t.started_at
    ),
    booked as (
        insert into pgflow.task_errors (
            run_id, step_index, task_index, lease_seq, attempt, code, message, worker_id, started_at, failed_at
        )
        select refused.run_id, refused.step_index, refused.task_index, refused.lease_seq, refused.failures,
               u.code, u.message, refused.worker_id, refused.started_at, v_now
        from refused
        join unnest(v_run_ids, v_codes, v_messages) as u (run_id, code, message) on u.run_id = refused.run_id
    )
    select array_agg(refused.run_id), array_agg(refused.step_index)
    into v_refused_run_ids, v_refused_step_indexes from refused;

    -- A run whose blamed step had completed has one more step to do again, should it be retried.
    update pgflow.runs as r
    set remaining_steps = r.remaining_steps + 1
    from unnest(v_run_ids, v_step_indexes) as u (run_id, step_index)
    join pgflow.step_states as s
        on s.run_id = u.run_id and s.step_index = u.step_index and s.status = 'completed'
    where r.run_id = u.run_id;

    update pgflow.step_states as s
    set remaining_tasks = s.remaining_tasks + 1
    from unnest(v_refused_run_ids, v_refused_step_indexes) as u (run_id, step_index)
    where s.run_id = u.run_id and s.step_index = u.step_index;

    update pgflow.step_states as s
    set status = 'failed', completed_at = v_now, output = null,
        revision = r.revision + (r.run_id = any(p_raised_run_ids) is not true)::int,
        failed_tasks = greatest(1, (
            select count(*) from pgflow.step_tasks as t
            where t.run_id = s.run_id and t.step_index = s.step_index and t.status = 'failed'
        ))
    from (
        select run_id, step_index from unnest(v_run_ids, v_step_indexes) as first_failure (run_id, step_index)
        union
        -- Other steps of these runs with a task that failed in the same batch.
        select t.run_id, t.step_index
        from unnest(p_run_ids, p_step_indexes, p_task_indexes) as other (run_id, step_index, task_index)
        join pgflow.step_tasks as t
            on t.run_id = other.run_id and t.step_index = other.step_index and t.task_index = other.task_index
        where t.status = 'failed' and other.run_id = any(v_run_ids)
    ) as u
    join pgflow.runs as r on r.run_id = u.run_id
    where s.run_id = u.run_id and s.step_index = u.step_index;

    perform pgflow.end_open_work(v_run_ids, p_raised_run_ids);

    update pgflow.runs as r
    set status = 'failed', completed_at = v_now,
        revision = r.revision + (r.run_id = any(p_raised_run_ids) is not true)::int,
        error_step_index = u.step_index, error_task_index = u.task_index, error_code = u.code,
        error_message = left(u.message, 8192),
        error_attempt = coalesce((
            select e.attempt from pgflow.task_errors as e
            where e.run_id = u.run_id and e.step_index = u.step_index and e.task_index = u.task_index
            order by e.lease_seq desc limit 1
        ), 1)
    from unnest(v_run_ids, v_step_indexes, v_task_indexes, v_codes, v_messages)
        as u (run_id, step_index, task_index, code, message)
    where r.run_id = u.run_id;
end
$$;
