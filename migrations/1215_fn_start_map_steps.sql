-- Starts map steps whose dependency is done: counts the items and writes the first tasks.
--   step: started without tasks -> with initial_tasks; -> completed with [] for an empty array.
--   Maps of up to 2,000 items are written here; larger ones leave a row in map_expansions for expand_maps.
--   done_*: steps that were empty. bad_*: steps that cannot start, each booked on the step that made the array (or on
--   the map itself when that has no task), with code and message; nothing is changed for them.
--   Caller holds the runs' locks.
create or replace function pgflow.start_map_steps(
    p_run_ids uuid[], p_step_indexes smallint[], p_max_items int,
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
-- Joins as they are written, from what is asked for to what is looked up: while a table is small, or was when it was last
-- analysed, the planner may begin anywhere, and the plan stays when the table has grown.
set join_collapse_limit = 1
as $$
declare
    c_inline_items constant int := 2000;
    v_now constant timestamptz := pgflow.now();
    v_run_ids uuid[];
    v_step_indexes smallint[];
    v_counts int[];
    i int;
begin
    with source as materialized (
        select u.run_id, u.step_index, step.step_slug, step.initial_tasks as promised, e.dep_index, e.dep_slug,
               case when d.is_map and d.initial_tasks > 0 or d.is_map is false then d.step_index else u.step_index end
                   as blamed_step_index,
               case when d.is_map then 'array' else json_typeof(coalesce(d.output, r.input)) end as found_type,
               case
                   when d.is_map then d.initial_tasks
                   when json_typeof(coalesce(d.output, r.input)) = 'array'
                       then json_array_length(coalesce(d.output, r.input))
               end as item_count
        from unnest(p_run_ids, p_step_indexes) as u (run_id, step_index)
        join pgflow.runs as r on r.run_id = u.run_id
        join pgflow.workflow_steps as step on step.version_id = r.version_id and step.step_index = u.step_index
        -- (`offset 0`: one look-up for each, by all of its key.)
        left join lateral (
            select def.dep_index, def.dep_slug from pgflow.workflow_step_dependencies_def as def
            where def.version_id = r.version_id and def.step_index = u.step_index offset 0
        ) as e on true
        left join lateral (
            select state.step_index, state.is_map, state.initial_tasks, state.output from pgflow.step_states as state
            where state.run_id = u.run_id and state.step_index = e.dep_index offset 0
        ) as d on true
    ),
    judged as materialized (
        select s.*,
               case
                   when item_count is null then 'TYPE_VIOLATION'
                   when promised <> item_count then 'INITIAL_TASKS_MISMATCH'
                   when item_count > p_max_items then 'TOO_MANY_ITEMS'
               end as code,
               coalesce(format('step "%s"', dep_slug), 'the run input') as made_by
        from source as s
    )
    select array_agg(run_id) filter (where code is null),
           array_agg(step_index) filter (where code is null),
           array_agg(item_count) filter (where code is null),
           array_agg(run_id) filter (where code is null and item_count = 0),
           array_agg(step_index) filter (where code is null and item_count = 0),
           array_agg(run_id) filter (where code is not null),
           array_agg(blamed_step_index) filter (where code is not null),
           array_agg(code) filter (where code is not null),
           array_agg(case code
               when 'TYPE_VIOLATION' then format(
                   'map step "%s" needs an array, but %s is of type %s; return an array',
                   step_slug, made_by, found_type)
               when 'INITIAL_TASKS_MISMATCH' then format(
                   'map step "%s" promises initial_tasks = %s, but %s has %s items; return %s items or drop the promise',
                   step_slug, promised, made_by, item_count, promised)
               else format(
                   'map step "%s" gets %s items from %s, at most %s are allowed; split the array or raise STEPGRES_MAX_ITEMS',
                   step_slug, item_count, made_by, p_max_items)
           end) filter (where code is not null)
    into v_run_ids, v_step_indexes, v_counts, done_run_ids, done_step_indexes,
         bad_run_ids, bad_step_indexes, bad_codes, bad_messages
    from judged;

    update pgflow.step_states as s
    set initial_tasks = u.item_count,
        remaining_tasks = u.item_count,
        status = case when u.item_count = 0 then 'completed' else s.status end,
        completed_at = case when u.item_count = 0 then v_now end,
        output_bytes = case when u.item_count = 0 then 2 else 0 end,
        output = case when u.item_count = 0 then json '[]' end
    from unnest(v_run_ids, v_step_indexes, v_counts) as u (run_id, step_index, item_count)
    where s.run_id = u.run_id and s.step_index = u.step_index;

    for i in 1 .. coalesce(cardinality(v_run_ids), 0) loop
        if v_counts[i] > c_inline_items then
            insert into pgflow.map_expansions (run_id, step_index, created_at)
            values (v_run_ids[i], v_step_indexes[i], v_now);
            -- The first window now, so that workers have something to do at once.
            perform pgflow.expand_map(v_run_ids[i], v_step_indexes[i], 1000);
            perform pg_notify('pgflow_expand', '');
        elsif v_counts[i] > 0 then
            perform pgflow.expand_map(v_run_ids[i], v_step_indexes[i], c_inline_items);
        end if;
    end loop;
end
$$;
