-- Makes the unfinished steps of runs ready to go on: what is finished stays, everything else is counted anew.
--   step: failed, cancelled -> started when its dependencies are complete, else -> created. A step behind one of these
--   goes back to created, even when it had started (the engine refused a dependency's output in the transaction that
--   started it: no worker has seen its tasks) or was complete (as an empty map of the same transaction).
--   task: failed, cancelled -> queued without message, failures and losses 0, lease_seq as it was; of a step that is
--   created: gone. A map whose rows are not all written goes on being written.
--   Returns the steps that are started: have_tasks tells those whose tasks wait for a message up to next_index, the
--   others need their first; last_dep_indexes are their latest dependencies (null: none).
--   Caller holds the runs' locks, has ensured the routes, and raises the runs' revision afterwards.
create or replace function pgflow.reopen_steps(
    p_run_ids uuid[],
    out run_ids uuid[], out step_indexes smallint[], out route_ids int[], out are_maps boolean[],
    out have_tasks boolean[], out input_bytes bigint[], out last_dep_indexes smallint[]
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
-- Joins as they are written: from a route to all steps of its handler would be quadratic where flows share handlers.
set join_collapse_limit = 1
as $$
#variable_conflict use_column
declare
    c_window constant int := 1000;
    v_now constant timestamptz := pgflow.now();
    v_undone record;
begin
    -- What the run says is read once, not for each step: its input may be large.
    with recursive undone (run_id, step_index, version_id, step_count, revision, scope, run_bytes) as (
        select r.run_id, s.step_index, r.version_id, r.step_count, r.revision, r.scope, r.run_bytes
        from (
            select run_id, version_id, step_count, revision + 1 as revision, scope,
                   octet_length(input::text) as run_bytes
            from pgflow.runs where run_id = any(p_run_ids) offset 0
        ) as r
        cross join lateral (
            select step_index from pgflow.step_states where run_id = r.run_id and status <> 'completed' offset 0
        ) as s
        union
        select u.run_id, e.step_index, u.version_id, u.step_count, u.revision, u.scope, u.run_bytes
        from undone as u
        -- A range of one, in the order of the primary key: the other index would read the whole version for each step.
        cross join lateral (
            select d.step_index from pgflow.workflow_step_dependencies_def as d
            where d.version_id = u.version_id and d.dep_index between u.step_index and u.step_index
              and d.step_index < u.step_count
            order by d.dep_index, d.step_index
        ) as e
    )
    select array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes, array_agg(version_id) as version_ids,
           array_agg(revision) as revisions, array_agg(scope) as scopes, array_agg(run_bytes) as run_bytes
    into v_undone from undone;

    -- Routes of scopes may have been forgotten since, and come back with other numbers.
    update pgflow.step_states as s
    set status = 'created', completed_at = null, output = null, failed_tasks = 0, output_bytes = 0,
        revision = u.revision, route_id = route.route_id
    from unnest(v_undone.run_ids, v_undone.step_indexes, v_undone.version_ids, v_undone.revisions, v_undone.scopes)
        as u (run_id, step_index, version_id, revision, scope)
    join pgflow.workflow_steps as step on step.version_id = u.version_id and step.step_index = u.step_index
    join pgflow.routes as route
        on route.queue_id = step.queue_id and route.scope = u.scope and route.handler = step.handler
    where s.run_id = u.run_id and s.step_index = u.step_index;

    -- Counted from what is there: whatever ended the run may have left them in between.
    update pgflow.step_states as s
    set remaining_deps = d.remaining_deps, input_bytes = d.input_bytes,
        status = case when d.remaining_deps = 0 then 'started' else 'created' end
    from unnest(v_undone.run_ids, v_undone.step_indexes, v_undone.version_ids, v_undone.run_bytes)
        as u (run_id, step_index, version_id, run_bytes)
    cross join lateral (
        select count(*) filter (where dep.status <> 'completed')::int as remaining_deps,
               u.run_bytes + coalesce(sum(dep.output_bytes) filter (where dep.status = 'completed'), 0)::bigint as input_bytes
        from pgflow.workflow_step_dependencies_def as e
        -- (`offset 0` makes it one look-up for each dependency; a join may read the whole run for each.)
        cross join lateral (
            select o.status, o.output_bytes from pgflow.step_states as o
            where o.run_id = u.run_id and o.step_index = e.dep_index offset 0
        ) as dep
        where e.version_id = u.version_id and e.step_index = u.step_index
    ) as d
    where s.run_id = u.run_id and s.step_index = u.step_index;

    delete from pgflow.step_tasks as t
    using unnest(v_undone.run_ids, v_undone.step_indexes) as u (run_id, step_index)
    join pgflow.step_states as s
        on s.run_id = u.run_id and s.step_index = u.step_index and s.status = 'created'
    where t.run_id = u.run_id and t.step_index = u.step_index;

    update pgflow.step_tasks as t
    set status = 'queued', failures = 0, lost_leases = 0, releases = 0, queued_at = v_now, completed_at = null
    from unnest(v_undone.run_ids, v_undone.step_indexes) as u (run_id, step_index)
    where t.run_id = u.run_id and t.step_index = u.step_index and t.status in ('failed', 'cancelled');

    with counted as (
        update pgflow.step_states as s
        set initial_tasks = case when c.task_count > 0 then s.initial_tasks when not s.is_map then 1 end,
            remaining_tasks = case
                when c.task_count > 0 then s.initial_tasks - c.completed_count
                when not s.is_map then 1
            end,
            expanded_count = case when s.is_map then c.task_count else 0 end,
            next_index = case when s.is_map then least(c.task_count, c.completed_count + c_window) else 0 end,
            output_bytes = c.output_bytes,
            started_at = case
                when s.status = 'created' then null
                when c.task_count > 0 then s.started_at
                else v_now
            end
        from unnest(v_undone.run_ids, v_undone.step_indexes, v_undone.version_ids)
            as u (run_id, step_index, version_id)
        cross join lateral (
            select count(*)::int as task_count,
                   count(*) filter (where t.status = 'completed')::int as completed_count,
                   coalesce(sum(octet_length(t.output::text)), 0)::bigint as output_bytes
            from pgflow.step_tasks as t
            where t.run_id = u.run_id and t.step_index = u.step_index
        ) as c
        cross join lateral (
            select max(e.dep_index) as last_dep_index from pgflow.workflow_step_dependencies_def as e
            where e.version_id = u.version_id and e.step_index = u.step_index
        ) as d
        where s.run_id = u.run_id and s.step_index = u.step_index
        returning s.run_id, s.step_index, s.status, s.route_id, s.is_map, s.input_bytes, d.last_dep_index,
                  c.task_count > 0 as has_tasks
    )
    select array_agg(run_id), array_agg(step_index), array_agg(route_id), array_agg(is_map), array_agg(has_tasks),
           array_agg(input_bytes), array_agg(last_dep_index)
    into run_ids, step_indexes, route_ids, are_maps, have_tasks, input_bytes, last_dep_indexes
    from counted
    where status = 'started';

    insert into pgflow.map_expansions (run_id, step_index, created_at)
    select s.run_id, s.step_index, v_now
    from unnest(run_ids, step_indexes, have_tasks) as u (run_id, step_index, has_tasks)
    join pgflow.step_states as s on s.run_id = u.run_id and s.step_index = u.step_index
    where u.has_tasks and s.is_map and s.expanded_count < s.initial_tasks;
    if found then
        perform pg_notify('pgflow_expand', '');
    end if;
end
$$;
