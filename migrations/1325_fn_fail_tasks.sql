-- Records failures and timeouts.
--   task: started -> queued with a delay while attempts are left and the failure is retryable, else -> failed, and its
--   run with it. Where the fence does not hold nothing changes.
--   The arrays run side by side. p_retry_after_ms: null = the step's backoff. recorded_items: positions that were
--   recorded. failed_run_ids: runs that are failed now. ready_routes: routes that got a message.
--   p_raised_run_ids: see fail_runs. Caller holds the runs' locks (record_results).
-- squawk-ignore ban-drop-function
drop function if exists pgflow.fail_tasks(
    int[], uuid[], smallint[], int[], int[], uuid[], text[], text[], text[], boolean[], bigint[]
);
create or replace function pgflow.fail_tasks(
    p_items int[], p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_lease_seqs int[],
    p_session_ids uuid[], p_codes text[], p_messages text[], p_details text[], p_retryable boolean[],
    p_retry_after_ms bigint[], p_raised_run_ids uuid[] default '{}',
    out recorded_items int[], out failed_run_ids uuid[], out ready_routes int[]
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
-- Joins as they are written, from what is asked for to what is looked up: while a table is small, or was when it was last
-- analysed, the planner may begin anywhere, and the plan stays when the table has grown.
set join_collapse_limit = 1
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_retry record;
begin
    with fenced as materialized (
        select distinct on (t.run_id, t.step_index, t.task_index)
               u.item, t.run_id, t.step_index, t.task_index, t.lease_seq, t.failures + 1 as failures,
               u.code, u.message, u.details, t.worker_id, t.started_at,
               coalesce(u.retryable, true) and t.failures + 1 < coalesce(s.max_attempts, v.max_attempts) as is_retry,
               coalesce(
                   u.retry_after_ms / 1000.0,
                   pgflow.backoff_s(t.failures + 1, coalesce(s.base_delay_s, v.base_delay_s),
                                    coalesce(s.max_delay_s, v.max_delay_s))) as delay_s
        from unnest(p_items, p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_codes,
                    p_messages, p_details, p_retryable, p_retry_after_ms)
            as u (item, run_id, step_index, task_index, lease_seq, session_id, code, message, details, retryable,
                  retry_after_ms)
        join pgflow.step_tasks as t
            on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
               and t.lease_seq = u.lease_seq
               and t.session_id is not distinct from u.session_id and t.status = 'started'
        join pgflow.runs as r on r.run_id = u.run_id
        join pgflow.workflow_versions as v on v.version_id = r.version_id
        -- (`offset 0`: one look-up for each, by all of its key.)
        cross join lateral (
            select step.max_attempts, step.base_delay_s, step.max_delay_s from pgflow.workflow_steps as step
            where step.version_id = r.version_id and step.step_index = u.step_index offset 0
        ) as s
        order by t.run_id, t.step_index, t.task_index, u.item
    ),
    booked as (
        insert into pgflow.task_errors (
            run_id, step_index, task_index, lease_seq, attempt, code, message, details, worker_id, started_at, failed_at
        )
        select run_id, step_index, task_index, lease_seq, failures, code, left(message, 8192),
               left(coalesce(details, ''), 8192),
               worker_id, started_at, v_now
        from fenced
        on conflict do nothing
    ),
    failed as (
        update pgflow.step_tasks as t
        set status = 'failed', failures = f.failures, session_id = null, completed_at = v_now
        from fenced as f
        where not f.is_retry and t.run_id = f.run_id and t.step_index = f.step_index and t.task_index = f.task_index
    )
    select array_agg(item) as items,
           array_agg(run_id) filter (where is_retry) as run_ids,
           array_agg(step_index) filter (where is_retry) as step_indexes,
           array_agg(task_index) filter (where is_retry) as task_indexes,
           array_agg(delay_s) filter (where is_retry) as delays_s,
           array_agg(run_id) filter (where not is_retry) as final_run_ids,
           array_agg(step_index) filter (where not is_retry) as final_step_indexes,
           array_agg(task_index) filter (where not is_retry) as final_task_indexes,
           array_agg(code) filter (where not is_retry) as final_codes,
           array_agg(message) filter (where not is_retry) as final_messages
    into v_retry from fenced;

    recorded_items := v_retry.items;
    if v_retry.run_ids is not null then
        ready_routes := pgflow.requeue_tasks(
            v_retry.run_ids, v_retry.step_indexes, v_retry.task_indexes, v_retry.delays_s,
            array_fill(1, array[cardinality(v_retry.run_ids)]), array_fill(0, array[cardinality(v_retry.run_ids)]),
            array_fill(0, array[cardinality(v_retry.run_ids)]), false
        );
    end if;
    if v_retry.final_run_ids is not null then
        perform pgflow.fail_runs(
            v_retry.final_run_ids, v_retry.final_step_indexes, v_retry.final_task_indexes,
            v_retry.final_codes, v_retry.final_messages, p_raised_run_ids
        );
        failed_run_ids := array(select distinct run_id from unnest(v_retry.final_run_ids) as u (run_id));
    end if;
end
$$;
