-- Records a batch of results, completions before failures, each fenced by session, lease_seq and status.
--   p_outcomes: 1 completed (p_outputs), 2 failed (p_codes … p_retry_after_ms), 3 released, 4 never delivered.
--   The first six arrays run side by side; the others may be null when no item needs them.
--   verdicts: one for each item: 1 recorded, 2 duplicate, 3 stale, 4 rejected as too large (its task failed).
--   ended_*: runs that are terminal now. ready_routes: routes that have new messages, for the next lease.
--   p_lock_timeout_ms: how long this transaction waits for a lock from here on; null = as it is set.
--   Never raises for an item's state.
--   Locks: all runs of the batch first, in order, whatever follows; guards are read in later statements.
create or replace function pgflow.record_results(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_lease_seqs int[], p_session_ids uuid[],
    p_outcomes smallint[], p_outputs text[], p_codes text[] default null, p_messages text[] default null,
    p_details text[] default null, p_retryable boolean[] default null, p_retry_after_ms bigint[] default null,
    p_max_output_bytes bigint default 16777216, p_max_input_bytes bigint default 16777216,
    p_max_items int default 100000, p_lock_timeout_ms int default null,
    out verdicts smallint[], out ready_routes int[], out ended_run_ids uuid[], out ended_version_ids int[],
    out ended_statuses text[], out ended_durations_s float8[]
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
    c_recorded constant smallint := 1;
    v_count constant int := cardinality(p_run_ids);
    v_items int[];
    v_recorded int[] := '{}';
    v_bad_items int[];
    v_changed_run_ids uuid[];
    v_done record;
    v_failed record;
    v_back record;
begin
    if p_lock_timeout_ms is not null then
        perform set_config('lock_timeout', p_lock_timeout_ms::text, true);
    end if;
    perform 1 from pgflow.runs where run_id = any(p_run_ids) order by run_id for no key update;

    if 1 = any(p_outcomes) then
        if 1 = all(p_outcomes) then
            select * into v_done from pgflow.complete_tasks(
                array(select generate_series(1, v_count)), p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs,
                p_session_ids, p_outputs, p_max_output_bytes);
        else
            select c.* into v_done
            from (
                select array_agg(item) as items, array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes,
                       array_agg(task_index) as task_indexes, array_agg(lease_seq) as lease_seqs,
                       array_agg(session_id) as session_ids, array_agg(output) as outputs
                from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_outcomes,
                            p_outputs)
                    with ordinality as u (run_id, step_index, task_index, lease_seq, session_id, outcome, output, item)
                where outcome = 1
            ) as u,
            pgflow.complete_tasks(u.items::int[], u.run_ids, u.step_indexes, u.task_indexes, u.lease_seqs,
                                  u.session_ids, u.outputs, p_max_output_bytes) as c;
        end if;
        v_recorded := coalesce(v_done.recorded_items, v_recorded);
        v_bad_items := v_done.bad_items;
        v_changed_run_ids := v_done.changed_run_ids;
        if v_done.changed_run_ids is not null then
            select a.* into ended_run_ids, ready_routes from pgflow.advance_runs(
                v_done.changed_run_ids, v_done.done_run_ids, v_done.done_step_indexes, v_done.done_bytes,
                p_max_items, p_max_input_bytes) as a;
        end if;
        ready_routes := ready_routes || v_done.ready_routes;
        if v_done.bad_run_ids is not null then
            perform pgflow.fail_runs(
                v_done.bad_run_ids, v_done.bad_step_indexes, v_done.bad_task_indexes,
                array_fill('OUTPUT_TOO_LARGE'::text, array[cardinality(v_done.bad_run_ids)]),
                array_fill(format('with this output the map''s outputs exceed %s bytes; return less, or a reference',
                                  p_max_output_bytes), array[cardinality(v_done.bad_run_ids)]),
                v_changed_run_ids);
            ended_run_ids := ended_run_ids || v_done.bad_run_ids;
        end if;
    end if;

    if 2 = any(p_outcomes) then
        select f.* into v_failed
        from (
            select array_agg(item) as items, array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes,
                   array_agg(task_index) as task_indexes, array_agg(lease_seq) as lease_seqs,
                   array_agg(session_id) as session_ids, array_agg(code) as codes, array_agg(message) as messages,
                   array_agg(details) as details, array_agg(retryable) as retryable,
                   array_agg(retry_after_ms) as retry_after_ms
            from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_outcomes, p_codes,
                        p_messages, p_details, p_retryable, p_retry_after_ms)
                with ordinality as u (run_id, step_index, task_index, lease_seq, session_id, outcome, code, message,
                                      details, retryable, retry_after_ms, item)
            where outcome = 2
        ) as u,
        pgflow.fail_tasks(u.items::int[], u.run_ids, u.step_indexes, u.task_indexes, u.lease_seqs, u.session_ids,
                          u.codes, u.messages, u.details, u.retryable, u.retry_after_ms, v_changed_run_ids) as f;
        v_recorded := v_recorded || v_failed.recorded_items;
        ready_routes := ready_routes || v_failed.ready_routes;
        ended_run_ids := ended_run_ids || v_failed.failed_run_ids;
    end if;

    if 3 = any(p_outcomes) or 4 = any(p_outcomes) then
        select b.* into v_back
        from (
            select array_agg(item) as items, array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes,
                   array_agg(task_index) as task_indexes, array_agg(lease_seq) as lease_seqs,
                   array_agg(session_id) as session_ids, array_agg(outcome = 4) as undelivered
            from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs, p_session_ids, p_outcomes)
                with ordinality as u (run_id, step_index, task_index, lease_seq, session_id, outcome, item)
            where outcome in (3, 4)
        ) as u,
        pgflow.release_tasks(u.items::int[], u.run_ids, u.step_indexes, u.task_indexes, u.lease_seqs, u.session_ids,
                             u.undelivered) as b;
        v_recorded := v_recorded || v_back.recorded_items;
        ready_routes := ready_routes || v_back.ready_routes;
    end if;

    if ended_run_ids is not null then
        select array_agg(run_id), array_agg(version_id), array_agg(status),
               array_agg(extract(epoch from completed_at - started_at)::float8)
        into ended_run_ids, ended_version_ids, ended_statuses, ended_durations_s
        from pgflow.runs where run_id = any(ended_run_ids);
    end if;
    ready_routes := array(select distinct route_id from unnest(ready_routes) as u (route_id));
    if cardinality(v_recorded) = v_count and v_bad_items is null then
        verdicts := array_fill(c_recorded, array[v_count]);
        return;
    end if;
    select array_agg(case
               when u.item = any(v_bad_items) then 4
               when u.item = any(v_recorded) then c_recorded
               when t.lease_seq = u.lease_seq and t.status = 'completed' then 2
               when exists (
                   select from pgflow.task_errors as e
                   where e.run_id = u.run_id and e.step_index = u.step_index and e.task_index = u.task_index
                     and e.lease_seq = u.lease_seq and e.code <> 'LEASE_LOST'
               ) then 2
               else 3
           end::smallint order by u.item)
    into verdicts
    from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_lease_seqs) with ordinality
        as u (run_id, step_index, task_index, lease_seq, item)
    left join pgflow.step_tasks as t
        on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index;
end
$$;
