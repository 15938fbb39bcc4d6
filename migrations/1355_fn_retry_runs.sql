-- Lets runs go on that failed or were cancelled.
--   run: failed, cancelled -> started, without end and error, with the version and steps it began with; its finished
--   work stays, the rest starts again (reopen_steps). A started or completed run stays as it is.
--   A run whose input or outputs no step can take fails again at once, in this transaction, blamed as advance_runs does.
--   verdict: retried, started, completed; unknown ids, and runs whose flow is deleted, give no row.
--   ready_routes: routes that may have got a message, of all runs together, in each row that was retried.
--   Locks: key share on the flows (add_step may go on; delete_flow waits, or has made the run unknown), then the runs
--   in order. Raises 55P03 when somebody keeps one for 3 s.
create or replace function pgflow.retry_runs(
    p_run_ids uuid[], p_max_items int default 100000, p_max_input_bytes bigint default 16777216
) returns table (run_id uuid, verdict text, ready_routes int[])
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
-- Joins as they are written: from a route to all steps of its handler would be quadratic where flows share handlers.
set join_collapse_limit = 1
set lock_timeout = '3s'
as $$
#variable_conflict use_column
declare
    v_run_ids uuid[];
    v_open record;
    v_waiting record;
    v_fresh record;
    v_ready record;
    v_large_count int;
    v_ready_routes int[];
begin
    perform 1 from pgflow.workflows
    where workflow_id in (select r.workflow_id from pgflow.runs as r where r.run_id = any(p_run_ids))
    order by workflow_slug for key share;
    perform 1 from pgflow.runs where run_id = any(p_run_ids) order by run_id for no key update;
    v_run_ids := array(
        select r.run_id
        from pgflow.runs as r
        join pgflow.workflows as w on w.workflow_id = r.workflow_id
        where r.run_id = any(p_run_ids) and r.status in ('failed', 'cancelled')
        order by r.run_id
    );
    if cardinality(v_run_ids) > 0 then
        insert into pgflow.routes (queue_id, scope, handler)
        select distinct s.queue_id, r.scope, s.handler
        from pgflow.runs as r
        join pgflow.workflow_steps as s on s.version_id = r.version_id and s.step_index < r.step_count
        where r.run_id = any(v_run_ids) and (r.scope <> '' or not exists (
            select from pgflow.routes as o where o.queue_id = s.queue_id and o.scope = r.scope and o.handler = s.handler
        ))
        order by 1, 2, 3
        -- Locks the routes of scopes against prune_names until these runs can be seen to be open.
        on conflict (queue_id, scope, handler) do update set used_at = pgflow.now() where excluded.scope <> '';

        select * into v_open from pgflow.reopen_steps(v_run_ids);
        -- The revision is raised below, once for everything.
        update pgflow.runs as r
        set status = 'started', completed_at = null, error_step_index = null, error_task_index = null,
            error_attempt = null, error_code = null, error_message = null,
            remaining_steps = (
                select count(*) from pgflow.step_states as s where s.run_id = r.run_id and s.status <> 'completed'
            )
        where r.run_id = any(v_run_ids);

        select array_agg(t.run_id) as run_ids, array_agg(t.step_index) as step_indexes,
               array_agg(t.task_index) as task_indexes, array_agg(u.route_id) as route_ids
        into v_waiting
        from unnest(v_open.run_ids, v_open.step_indexes, v_open.route_ids, v_open.have_tasks)
            as u (run_id, step_index, route_id, has_tasks)
        join pgflow.step_states as s on s.run_id = u.run_id and s.step_index = u.step_index
        join pgflow.step_tasks as t
            on t.run_id = u.run_id and t.step_index = u.step_index
               and t.task_index < case when s.is_map then s.next_index else 1 end
        where u.has_tasks and t.status = 'queued';
        if v_waiting.run_ids is not null then
            perform pgflow.enqueue_tasks(
                v_waiting.run_ids, v_waiting.step_indexes, v_waiting.task_indexes, v_waiting.route_ids
            );
        end if;

        select array_agg(run_id) filter (where is_fit) as run_ids,
               array_agg(step_index) filter (where is_fit) as step_indexes,
               array_agg(route_id) filter (where is_fit) as route_ids,
               array_agg(is_map) filter (where is_fit) as are_maps,
               array_agg(run_id) filter (where not is_fit) as large_run_ids,
               array_agg(dep_index) filter (where not is_fit) as large_step_indexes
        into v_fresh
        from (
            select u.*, u.is_map or u.input_bytes <= p_max_input_bytes or u.dep_index is null as is_fit
            from unnest(v_open.run_ids, v_open.step_indexes, v_open.route_ids, v_open.are_maps, v_open.have_tasks,
                        v_open.input_bytes, v_open.last_dep_indexes)
                as u (run_id, step_index, route_id, is_map, has_tasks, input_bytes, dep_index)
            where not u.has_tasks
        ) as fresh;
        select * into v_ready from pgflow.start_ready_steps(
            v_fresh.run_ids, v_fresh.step_indexes, v_fresh.route_ids, v_fresh.are_maps, p_max_items
        );
        select a.ready_routes into v_ready_routes from pgflow.advance_runs(
            v_run_ids, v_ready.done_run_ids, v_ready.done_step_indexes,
            array_fill(2::bigint, array[coalesce(cardinality(v_ready.done_run_ids), 0)]), p_max_items, p_max_input_bytes
        ) as a;
        v_ready_routes := array(
            select distinct route_id from unnest(v_ready_routes || v_open.route_ids) as u (route_id)
        );
        v_large_count := coalesce(cardinality(v_fresh.large_run_ids), 0);
        perform pgflow.fail_runs(
            v_ready.bad_run_ids || v_fresh.large_run_ids, v_ready.bad_step_indexes || v_fresh.large_step_indexes, null,
            v_ready.bad_codes || array_fill('OUTPUT_TOO_LARGE'::text, array[v_large_count]),
            v_ready.bad_messages || array_fill(
                format('with this output a dependent step''s input is larger than %s bytes; return less, or a reference',
                       p_max_input_bytes), array[v_large_count]),
            v_run_ids
        );
    end if;
    return query
    select r.run_id, case when r.run_id = any(v_run_ids) then 'retried' else r.status end,
           case when r.run_id = any(v_run_ids) then v_ready_routes end
    from pgflow.runs as r
    join pgflow.workflows as w on w.workflow_id = r.workflow_id
    where r.run_id = any(p_run_ids);
end
$$;
