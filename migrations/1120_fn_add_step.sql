-- Appends a step to the latest version of a flow: nothing -> step. The same step again changes nothing.
--   null: p_handler = `<flow>.<step>`, p_params = {}, p_depends_on = none, the others = the flow's values.
--   Returns the step. Raises PF404 for an unknown flow, PF400 for a bad value, PF409 when the step exists with another
--   shape. Runs that have started do not see the step.
--   Race-safe. Locks the flow's row for no key update: a start of a run, which takes key share, does not wait.
create or replace function pgflow.add_step(
    p_workflow_slug text, p_step_slug text, p_depends_on text[] default '{}', p_step_type text default 'single',
    p_initial_tasks int default null, p_max_attempts int default null, p_timeout int default null,
    p_handler text default null, p_params json default null, p_base_delay_s int default null,
    p_max_delay_s int default null, p_queue text default null
) returns pgflow.workflow_steps
language plpgsql
as $$
declare
    v_version pgflow.workflow_versions;
    v_step pgflow.workflow_steps;
    v_count int;
    v_differences text;
    v_depends_on text[];
begin
    p_depends_on := coalesce(p_depends_on, '{}');
    p_step_type := coalesce(p_step_type, 'single');
    p_params := coalesce(p_params, '{}');
    p_handler := coalesce(p_handler, p_workflow_slug || '.' || p_step_slug);

    if starts_with(p_workflow_slug, 'plan:') then
        perform pgflow.check_name('flow', p_workflow_slug);
    end if;
    perform 1 from pgflow.workflows where workflow_slug = p_workflow_slug for no key update;
    if not found then
        raise exception 'flow: no flow is called "%"; create it first', left(p_workflow_slug, 140)
            using errcode = 'PF404', constraint = 'FLOW_NOT_FOUND';
    end if;
    select v.* into strict v_version
    from pgflow.workflows as w
    join pgflow.workflow_versions as v on v.workflow_slug = w.workflow_slug and v.version = w.latest_version
    where w.workflow_slug = p_workflow_slug;

    perform pgflow.check_step(p_workflow_slug, v_version.version_id, p_step_slug, p_depends_on, p_step_type,
                              p_initial_tasks, p_handler, p_params);
    perform pgflow.check_options('step.', p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue);

    select * into v_step from pgflow.workflow_steps
    where version_id = v_version.version_id and step_slug = p_step_slug;
    if found then
        v_depends_on := array(
            select dep_slug from pgflow.workflow_step_dependencies_def
            where version_id = v_version.version_id and step_index = v_step.step_index order by dep_slug
        );
        v_differences := pgflow.differences(
            array['depends_on', 'step_type', 'initial_tasks', 'max_attempts', 'timeout', 'handler', 'params',
                  'base_delay_s', 'max_delay_s', 'queue'],
            array[v_depends_on::text, v_step.step_type, v_step.initial_tasks::text, v_step.max_attempts::text,
                  v_step.timeout::text, v_step.handler, v_step.params::jsonb::text, v_step.base_delay_s::text,
                  v_step.max_delay_s::text, v_step.queue],
            array[array(select slug from unnest(p_depends_on) as u (slug) order by slug collate "C")::text, p_step_type,
                  p_initial_tasks::text, p_max_attempts::text, p_timeout::text, p_handler,
                  -- Equal as JSON is equal: 1.0 and 1, keys in any order.
                  case when v_step.params::jsonb = p_params::jsonb then v_step.params else p_params end::jsonb::text,
                  p_base_delay_s::text, p_max_delay_s::text, p_queue]
        );
        if v_differences is not null then
            raise exception 'step.slug: step "%" of flow "%" exists with another shape: %; use the same shape, another slug, or a new version',
                p_step_slug, p_workflow_slug, v_differences using errcode = 'PF409', constraint = 'STEP_EXISTS';
        end if;
        return v_step;
    end if;

    select count(*) into v_count from pgflow.workflow_steps where version_id = v_version.version_id;
    if v_count >= 2000 then
        raise exception 'step: flow "%" has % steps, at most 2000 are allowed; split it into two flows', p_workflow_slug,
            v_count using errcode = 'PF400', constraint = 'TOO_MANY_STEPS';
    end if;
    insert into pgflow.workflow_steps (
        version_id, step_index, workflow_slug, version, step_slug, step_type, deps_count, initial_tasks, max_attempts,
        timeout, base_delay_s, max_delay_s, queue, queue_id, handler, params
    ) values (
        v_version.version_id, v_count, p_workflow_slug, v_version.version, p_step_slug, p_step_type,
        cardinality(p_depends_on), p_initial_tasks, p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue,
        case when p_queue is null then v_version.queue_id else pgflow.ensure_queue(p_queue) end, p_handler, p_params
    ) returning * into v_step;
    insert into pgflow.workflow_step_dependencies_def (
        version_id, dep_index, step_index, workflow_slug, dep_slug, step_slug
    )
    select v_version.version_id, d.step_index, v_step.step_index, p_workflow_slug, d.step_slug, p_step_slug
    from unnest(p_depends_on) as u (slug)
    join pgflow.workflow_steps as d on d.version_id = v_version.version_id and d.step_slug = u.slug;
    return v_step;
end
$$;
