-- Puts messages for runnable tasks into the queues of their routes and announces the routes.
--   tasks: no message -> message; the caller writes the returned message ids into the task rows.
--   The arrays run side by side; returns the message ids in their order, null for no tasks.
--   Locks nothing but queue rows of its own. One notification: route ids, or * beyond 100 (its payload is limited).
create or replace function pgflow.send_tasks(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_route_ids int[]
) returns bigint[]
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_message_ids bigint[];
    v_routes text;
    v_queue_ids int[];
begin
    if cardinality(p_run_ids) > 0 then
        v_queue_ids := array(
            select distinct r.queue_id
            from (select distinct route_id from unnest(p_route_ids) as u (route_id)) as u
            join pgflow.routes as r on r.route_id = u.route_id
        );
        if cardinality(v_queue_ids) = 1 then
            -- send_batch answers in the order of its messages.
            v_message_ids := array(select pgmq.send_batch('pgflow_' || v_queue_ids[1], array(
                select jsonb_build_object('k', route_id, 'r', run_id, 's', step_index, 'i', task_index)
                from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_route_ids)
                    as u (run_id, step_index, task_index, route_id)
            )));
        else
        with task as materialized (
            select u.run_id, u.step_index, u.task_index, u.route_id, u.item, r.queue_id,
                   row_number() over (partition by r.queue_id order by u.item) as position
            from unnest(p_run_ids, p_step_indexes, p_task_indexes, p_route_ids)
                with ordinality as u (run_id, step_index, task_index, route_id, item)
            join pgflow.routes as r on r.route_id = u.route_id
        ),
        queue as materialized (
            select task.queue_id,
                   array_agg(
                       jsonb_build_object('k', route_id, 'r', run_id, 's', step_index, 'i', task_index) order by position
                   ) as messages
            from task group by task.queue_id
        ),
        sent as materialized (
            select queue.queue_id, array(select pgmq.send_batch('pgflow_' || queue.queue_id, queue.messages)) as ids
            from queue
        )
        select array_agg(sent.ids[task.position] order by task.item) into v_message_ids
        from task join sent on sent.queue_id = task.queue_id;
        end if;

        select case when count(*) > 100 then '*' else string_agg(route_id::text, ',') end into v_routes
        from (select distinct route_id from unnest(p_route_ids) as u (route_id)) as distinct_route;
        perform pg_notify('pgflow_ready', v_routes);
    end if;
    return v_message_ids;
end
$$;
