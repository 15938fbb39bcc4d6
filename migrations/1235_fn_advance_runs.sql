-- Carries runs on after steps of theirs completed: releases the dependents, starts those that are ready, follows
-- empty maps to any depth, and ends the runs that have no step left.
--   step: created -> started; run: started -> completed, or -> failed when a step cannot start.
--   p_changed_run_ids: every run this transaction changed, each once; their revision is raised here.
--   p_done_*: steps that have completed, with the bytes of their outputs. ended_run_ids: runs that are
--   terminal now; ready_routes: routes that may have got a message, with repetitions.
--   Caller holds the runs' locks.
create or replace function pgflow.advance_runs(
    p_changed_run_ids uuid[], p_done_run_ids uuid[], p_done_step_indexes smallint[], p_done_bytes bigint[],
    p_max_items int, p_max_input_bytes bigint,
    out ended_run_ids uuid[], out ready_routes int[]
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
    v_all_done_run_ids uuid[] := p_done_run_ids;
    v_ready_run_ids uuid[];
    v_ready_step_indexes smallint[];
    v_ready_route_ids int[];
    v_ready_are_maps boolean[];
    v_ready record;
    v_large_run_ids uuid[];
    v_large_step_indexes smallint[];
    v_bad_run_ids uuid[];
    v_bad_step_indexes smallint[];
    v_bad_codes text[];
    v_bad_messages text[];
    v_raised_run_ids uuid[];
begin
    while cardinality(p_done_run_ids) > 0 loop
        with released as (
            update pgflow.step_states as s
            set remaining_deps = s.remaining_deps - d.dep_count,
                input_bytes = s.input_bytes + d.output_bytes,
                status = case when s.remaining_deps = d.dep_count then 'started' else s.status end,
                started_at = case when s.remaining_deps = d.dep_count then v_now end,
                revision = d.revision
            from (
                select done.run_id, e.step_index, count(*)::int as dep_count, max(r.revision) + 1 as revision,
                       sum(done.output_bytes)::bigint as output_bytes, max(done.step_index) as dep_index
                from (
                    select unnest(p_done_run_ids) as run_id, unnest(p_done_step_indexes) as step_index,
                           unnest(p_done_bytes) as output_bytes
                ) as done
                join pgflow.runs as r on r.run_id = done.run_id
                -- One look-up for each step, by the primary key: with a bare `<` the other index would offer itself, which
                -- reads the whole version.
                cross join lateral (
                    select d.step_index from pgflow.workflow_step_dependencies_def as d
                    where d.version_id = r.version_id and d.dep_index = done.step_index
                      and d.step_index + 0 < r.step_count
                    offset 0
                ) as e
                group by done.run_id, e.step_index
            ) as d
            where s.run_id = d.run_id and s.step_index = d.step_index
            returning s.run_id, s.step_index, s.route_id, s.is_map, s.remaining_deps, d.dep_index,
                      s.input_bytes > p_max_input_bytes and not s.is_map as is_too_large
        )
        select array_agg(run_id) filter (where remaining_deps = 0 and not is_too_large),
               array_agg(step_index) filter (where remaining_deps = 0 and not is_too_large),
               array_agg(route_id) filter (where remaining_deps = 0 and not is_too_large),
               array_agg(is_map) filter (where remaining_deps = 0 and not is_too_large),
               array_agg(run_id) filter (where is_too_large),
               array_agg(dep_index) filter (where is_too_large)
        into v_ready_run_ids, v_ready_step_indexes, v_ready_route_ids, v_ready_are_maps,
             v_large_run_ids, v_large_step_indexes
        from released;

        v_bad_run_ids := v_bad_run_ids || v_large_run_ids;
        v_bad_step_indexes := v_bad_step_indexes || v_large_step_indexes;
        if v_large_run_ids is not null then
            v_bad_codes := v_bad_codes || array_fill('OUTPUT_TOO_LARGE'::text, array[cardinality(v_large_run_ids)]);
            v_bad_messages := v_bad_messages || array_fill(
                format('with this output a dependent step''s input is larger than %s bytes; return less, or a reference',
                       p_max_input_bytes), array[cardinality(v_large_run_ids)]);
        end if;

        ready_routes := ready_routes || v_ready_route_ids;
        select * into v_ready from pgflow.start_ready_steps(
            v_ready_run_ids, v_ready_step_indexes, v_ready_route_ids, v_ready_are_maps, p_max_items
        );
        v_bad_run_ids := v_bad_run_ids || v_ready.bad_run_ids;
        v_bad_step_indexes := v_bad_step_indexes || v_ready.bad_step_indexes;
        v_bad_codes := v_bad_codes || v_ready.bad_codes;
        v_bad_messages := v_bad_messages || v_ready.bad_messages;

        p_done_run_ids := v_ready.done_run_ids;
        p_done_step_indexes := v_ready.done_step_indexes;
        p_done_bytes := array_fill(2::bigint, array[coalesce(cardinality(p_done_run_ids), 0)]);
        v_all_done_run_ids := v_all_done_run_ids || p_done_run_ids;
    end loop;

    with changed as (
        select u.run_id, sum(u.done_count)::smallint as done_count
        from (
            select run_id, 0 as done_count from unnest(p_changed_run_ids) as c (run_id)
            union all
            select run_id, 1 from unnest(v_all_done_run_ids) as d (run_id)
        ) as u
        group by u.run_id
    ),
    advanced as (
        update pgflow.runs as r
        set revision = r.revision + 1,
            remaining_steps = r.remaining_steps - changed.done_count,
            status = case when r.remaining_steps = changed.done_count then 'completed' else r.status end,
            completed_at = case when r.remaining_steps = changed.done_count then v_now end
        from changed
        where r.run_id = changed.run_id
        returning r.run_id, r.status
    )
    select array_agg(run_id) filter (where status <> 'started'), array_agg(run_id)
    into ended_run_ids, v_raised_run_ids
    from advanced;

    if v_bad_run_ids is not null then
        perform pgflow.fail_runs(v_bad_run_ids, v_bad_step_indexes, null, v_bad_codes, v_bad_messages,
                                 v_raised_run_ids);
        ended_run_ids := ended_run_ids || v_bad_run_ids;
    end if;
end
$$;
