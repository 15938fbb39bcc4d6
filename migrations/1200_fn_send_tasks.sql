-- Puts messages for runnable tasks into the queues of their routes and announces the routes.
--   tasks: no message -> message; the caller writes the returned message ids into the task rows.
--   The arrays run side by side; returns the message ids in their order, null for no tasks.
--   p_first: in front of what waits. Their key is the negative route, which a lease reads before the positive one: a
--   message that is sent again has the highest number of all and would stand behind its route's whole backlog.
--   Locks nothing but queue rows of its own. One notification: route ids, or * beyond 100 (its payload is limited).
-- squawk-ignore ban-drop-function
drop function if exists pgflow.send_tasks(uuid[], smallint[], int[], int[]);
create or replace function pgflow.send_tasks(
    p_run_ids uuid[], p_step_indexes smallint[], p_task_indexes int[], p_route_ids int[], p_first boolean default false
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
    c_sign constant int := case when p_first then -1 else 1 end;
    v_queue record;
    v_batch record;
    v_sent bigint[];
    v_items int[];
    v_message_ids bigint[];
    v_routes text;
begin
    if cardinality(p_run_ids) > 0 then
        for v_queue in
            select r.queue_id, array_agg(r.route_id) as route_ids
            from (select distinct route_id from unnest(p_route_ids) as u (route_id)) as u
            join pgflow.routes as r on r.route_id = u.route_id
            group by r.queue_id
        loop
            select array_agg(item) as items,
                   array_agg(jsonb_build_object('k', c_sign * route_id, 'r', run_id, 's', step_index, 'i', task_index))
                       as messages
            into v_batch
            from (
                select generate_subscripts(p_run_ids, 1) as item, unnest(p_run_ids) as run_id,
                       unnest(p_step_indexes) as step_index, unnest(p_task_indexes) as task_index,
                       unnest(p_route_ids) as route_id
            ) as u
            where u.route_id = any(v_queue.route_ids);
            execute case
                when pgflow.keeps_plans(v_queue.queue_id)
                then format('select message_ids from pgflow.send_%s($1)', v_queue.queue_id)
                else pgflow.send_statement(v_queue.queue_id)
            end
            into v_sent using v_batch.messages;
            v_items := v_items || v_batch.items;
            v_message_ids := v_message_ids || v_sent;
        end loop;
        if v_items <> v_batch.items then  -- several queues
            v_message_ids := array(
                select id from (select unnest(v_items) as item, unnest(v_message_ids) as id) as sent order by item
            );
        end if;

        select case when count(*) > 100 then '*' else string_agg(route_id::text, ',') end into v_routes
        from (select distinct route_id from unnest(p_route_ids) as u (route_id)) as distinct_route;
        perform pg_notify('pgflow_ready', v_routes);
    end if;
    return v_message_ids;
end
$$;
