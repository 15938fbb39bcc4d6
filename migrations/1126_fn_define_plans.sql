-- Stores inline plans, each once: nothing -> flow `plan:<hash>`, version 1, with all its steps, in the shared queue
-- `plans`. A plan that exists is left alone.
--   The arrays run side by side, no slug twice. p_plans: definitions, checked by the caller: an object of
--   max_attempts, timeout_s, base_delay_s, max_delay_s and steps, an array with the keys of version_shape and slug in
--   which every step stands behind its dependencies. Any number of plans costs five statements.
--   A plan that gets no run within 10 minutes is removed by prune_plans.
--   Race-safe: of concurrent makers of one plan one makes it and the others wait for it, all in the order of the slugs;
--   1 s, then 55P03.
create or replace function pgflow.define_plans(p_workflow_slugs text[], p_plans json[]) returns void
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set join_collapse_limit = 1
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '1s'
as $$
declare
    v_queue_id constant int := pgflow.ensure_queue('plans');
    v_slugs text[];
    v_version_ids int[];
    v_plans json[];
begin
    with made as (
        insert into pgflow.workflows (workflow_slug, max_attempts, timeout, base_delay_s, max_delay_s, queue, prune_at)
        select u.slug, (u.plan ->> 'max_attempts')::int, (u.plan ->> 'timeout_s')::int,
               (u.plan ->> 'base_delay_s')::int, (u.plan ->> 'max_delay_s')::int, 'plans',
               pgflow.now() + interval '10 minutes'
        from unnest(p_workflow_slugs, p_plans) as u (slug, plan)
        -- Asked first, since each try to insert uses up a workflow_id.
        where not exists (select from pgflow.workflows as w where w.workflow_slug = u.slug)
        order by u.slug collate "C"
        on conflict (workflow_slug) do nothing
        returning *
    ),
    version as (
        insert into pgflow.workflow_versions (
            workflow_id, workflow_slug, version, max_attempts, timeout, base_delay_s, max_delay_s, queue, queue_id
        )
        select m.workflow_id, m.workflow_slug, 1, m.max_attempts, m.timeout, m.base_delay_s, m.max_delay_s, m.queue,
               v_queue_id
        from made as m
        returning version_id
    )
    select array_agg(version_id) into v_version_ids from version;
    if v_version_ids is null then
        return;
    end if;
    -- One by one along the index: a join of what was made with what was given would compare each with all.
    select array_agg(u.slug), array_agg(v.version_id), array_agg(u.plan) into v_slugs, v_version_ids, v_plans
    from unnest(p_workflow_slugs, p_plans) as u (slug, plan)
    cross join lateral (
        select version_id from pgflow.workflow_versions where workflow_slug = u.slug and version = 1 offset 0
    ) as v
    where v.version_id = any(v_version_ids);

    insert into pgflow.workflow_steps (
        version_id, step_index, workflow_slug, version, step_slug, step_type, deps_count, initial_tasks, max_attempts,
        timeout, base_delay_s, max_delay_s, queue_id, handler, params
    )
    select n.version_id, s.position - 1, n.slug, 1, s.slug, s.step_type, json_array_length(s.depends_on),
           s.initial_tasks, s.max_attempts, s.timeout_s, s.base_delay_s, s.max_delay_s, v_queue_id, s.handler, s.params
    from unnest(v_slugs, v_version_ids, v_plans) as n (slug, version_id, plan)
    cross join lateral rows from (
        json_to_recordset(n.plan -> 'steps') as (
            slug text, step_type text, depends_on json, initial_tasks int, max_attempts int, timeout_s int,
            base_delay_s int, max_delay_s int, handler text, params json
        )
    ) with ordinality as s (
        slug, step_type, depends_on, initial_tasks, max_attempts, timeout_s, base_delay_s, max_delay_s, handler, params,
        position
    );

    insert into pgflow.workflow_step_dependencies_def (
        version_id, dep_index, step_index, workflow_slug, dep_slug, step_slug
    )
    select n.version_id, d.step_index, s.position - 1, n.slug, d.step_slug, s.step ->> 'slug'
    from unnest(v_slugs, v_version_ids, v_plans) as n (slug, version_id, plan)
    cross join lateral json_array_elements(n.plan -> 'steps') with ordinality as s (step, position)
    cross join lateral json_array_elements_text(s.step -> 'depends_on') as u (dep_slug)
    join pgflow.workflow_steps as d on d.version_id = n.version_id and d.step_slug = u.dep_slug;
end
$$;
-- Made here and not by the first plan: plans add no relation to a database.
do $$ begin perform pgflow.ensure_queue('plans'); end $$;
