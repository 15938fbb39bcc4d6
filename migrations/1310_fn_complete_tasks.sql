-- Records outputs.
--   task: started -> completed, where the fence holds (session, lease_seq, status); step: started -> completed with its
--   last task. A map sends the next tasks of its window.
--   The arrays run side by side. recorded_items: positions whose output was recorded; done_*: steps that have
--   completed; bad_*: maps whose outputs exceed p_max_output_bytes with this batch, each with its last task in the batch;
--   ready_routes: routes of maps that sent more.
--   Counters move by what the fence let through, never by the input: a doubled result counts once.
--   Caller holds the runs' locks (record_results).
create or replace function pgflow.complete_tasks(
    p_items int[], p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_lease_seqs int[],
    p_session_ids uuid[], p_outputs text[], p_max_output_bytes bigint,
    out recorded_items int[], out changed_run_ids uuid[],
    out done_run_ids uuid[], out done_step_indexes smallint[], out done_bytes bigint[],
    out bad_run_ids uuid[], out bad_step_indexes smallint[], out bad_task_indexes int[], out bad_items int[],
    out ready_routes int[]
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
    c_window constant int := 1000;
    v_now constant timestamptz := pgflow.now();
    v_run_ids uuid[];
    v_step_indexes smallint[];
    v_task_indexes int[];
    v_route_ids int[];
    v_starts int[];
    v_ends int[];
begin
    with recorded as (
        update pgflow.step_tasks as t
        set status = 'completed', completed_at = v_now, session_id = null, releases = 0,
            output = case when t.item is not null then u.output::json end
        from (
            select unnest(p_items) as item, unnest(p_run_ids) as run_id, unnest(p_step_indexes) as step_index,
                   unnest(p_task_indexes) as task_index, unnest(p_lease_seqs) as lease_seq,
                   unnest(p_session_ids) as session_id, unnest(p_outputs) as output
        ) as u
        where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
          and t.lease_seq = u.lease_seq and t.session_id is not distinct from u.session_id and t.status = 'started'
        returning u.item, t.run_id, t.step_index, t.task_index, t.item is not null as is_map, u.output
    ),
    counted as (
        select run_id, step_index, count(*)::int as task_count, sum(octet_length(output))::bigint as output_bytes,
               max(item) as last_item,
               min(output) filter (where not is_map) as output
        from recorded group by run_id, step_index
    ),
    progressed as (
        update pgflow.step_states as s
        set remaining_tasks = s.remaining_tasks - c.task_count,
            output_bytes = s.output_bytes + c.output_bytes,
            next_index = case
                when s.is_map then greatest(s.next_index, least(
                    s.expanded_count, s.initial_tasks - s.remaining_tasks + c.task_count + c_window))
                else 0
            end,
            status = case
                when s.remaining_tasks = c.task_count
                     and not (s.is_map and s.output_bytes + c.output_bytes > p_max_output_bytes) then 'completed'
                else s.status
            end,
            completed_at = case when s.remaining_tasks = c.task_count then v_now end,
            output = c.output::json,
            revision = r.revision + 1
        from counted as c
        join pgflow.runs as r on r.run_id = c.run_id
        where s.run_id = c.run_id and s.step_index = c.step_index
        returning s.run_id, s.step_index, s.status, s.is_map, s.output_bytes, s.route_id, s.next_index,
                  c.last_item,
                  -- Where the window ended before this batch, by its invariant (0003_runs.sql).
                  case
                      when s.is_map then least(
                          s.expanded_count, s.initial_tasks - s.remaining_tasks - c.task_count + c_window)
                      else 0
                  end as window_start
    )
    select (select array_agg(item) from recorded),
           array_agg(distinct run_id),
           array_agg(run_id) filter (where status = 'completed'),
           array_agg(step_index) filter (where status = 'completed'),
           array_agg(output_bytes) filter (where status = 'completed'),
           array_agg(run_id) filter (where is_map and output_bytes > p_max_output_bytes),
           array_agg(step_index) filter (where is_map and output_bytes > p_max_output_bytes),
           array_agg((select r.task_index from recorded as r where r.item = last_item))
               filter (where is_map and output_bytes > p_max_output_bytes),
           array_agg(last_item) filter (where is_map and output_bytes > p_max_output_bytes),
           array_agg(run_id) filter (where window_start < next_index),
           array_agg(step_index) filter (where window_start < next_index),
           array_agg(route_id) filter (where window_start < next_index),
           array_agg(window_start) filter (where window_start < next_index),
           array_agg(next_index) filter (where window_start < next_index)
    into recorded_items, changed_run_ids, done_run_ids, done_step_indexes, done_bytes,
         bad_run_ids, bad_step_indexes, bad_task_indexes, bad_items,
         v_run_ids, v_step_indexes, v_route_ids, v_starts, v_ends
    from progressed;

    if v_run_ids is not null then
        select array_agg(w.run_id), array_agg(w.step_index), array_agg(i.task_index), array_agg(w.route_id)
        into v_run_ids, v_step_indexes, v_task_indexes, v_route_ids
        from unnest(v_run_ids, v_step_indexes, v_route_ids, v_starts, v_ends)
            as w (run_id, step_index, route_id, window_start, window_end)
        cross join lateral generate_series(w.window_start, w.window_end - 1) as i (task_index);
        perform pgflow.enqueue_tasks(v_run_ids, v_step_indexes, v_task_indexes, v_route_ids);
        ready_routes := v_route_ids;
    end if;
end
$$;
