-- Gives steps whose dependencies are done their tasks.
--   single step: a queued task with a message; map step: see start_map_steps, whose results are passed on.
--   The steps' states say started already. Caller holds the runs' locks.
create or replace function pgflow.start_ready_steps(
    p_run_ids uuid[], p_step_indexes smallint[], p_route_ids int[], p_are_maps boolean[], p_max_items int,
    out done_run_ids uuid[], out done_step_indexes smallint[],
    out bad_run_ids uuid[], out bad_step_indexes smallint[], out bad_codes text[], out bad_messages text[]
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
    v_now constant timestamptz := pgflow.now();
    v_map_run_ids uuid[];
    v_map_step_indexes smallint[];
    v_message_ids bigint[];
begin
    if true = any(p_are_maps) then
        select array_agg(run_id) filter (where is_map), array_agg(step_index) filter (where is_map),
               array_agg(run_id) filter (where not is_map), array_agg(step_index) filter (where not is_map),
               array_agg(route_id) filter (where not is_map)
        into v_map_run_ids, v_map_step_indexes, p_run_ids, p_step_indexes, p_route_ids
        from unnest(p_run_ids, p_step_indexes, p_route_ids, p_are_maps) as u (run_id, step_index, route_id, is_map);
    end if;

    if cardinality(p_run_ids) > 0 then
        v_message_ids := pgflow.send_tasks(
            p_run_ids, p_step_indexes, array_fill(0, array[cardinality(p_run_ids)]), p_route_ids
        );
        insert into pgflow.step_tasks (run_id, step_index, task_index, message_id, queued_at)
        select u.run_id, u.step_index, 0, u.message_id, v_now
        from (
            select unnest(p_run_ids) as run_id, unnest(p_step_indexes) as step_index,
                   unnest(v_message_ids) as message_id
        ) as u;
    end if;

    if v_map_run_ids is not null then
        select m.* into done_run_ids, done_step_indexes, bad_run_ids, bad_step_indexes, bad_codes, bad_messages
        from pgflow.start_map_steps(v_map_run_ids, v_map_step_indexes, p_max_items) as m;
    end if;
end
$$;
