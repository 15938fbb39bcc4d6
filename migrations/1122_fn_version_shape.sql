-- The shape of a version, for comparisons: its options, and its steps by slug, independent of their order.
create or replace function pgflow.version_shape(p_version_id int) returns jsonb
language sql stable
as $$
    select jsonb_build_object(
        'max_attempts', v.max_attempts, 'timeout_s', v.timeout, 'base_delay_s', v.base_delay_s,
        'max_delay_s', v.max_delay_s, 'queue', v.queue,
        'steps', coalesce((
            select jsonb_object_agg(s.step_slug, jsonb_build_object(
                'depends_on', coalesce((
                    select jsonb_agg(d.dep_slug order by d.dep_slug)
                    from pgflow.workflow_step_dependencies_def as d
                    where d.version_id = s.version_id and d.step_index = s.step_index
                ), '[]'),
                'step_type', s.step_type, 'initial_tasks', s.initial_tasks, 'max_attempts', s.max_attempts,
                'timeout_s', s.timeout, 'base_delay_s', s.base_delay_s, 'max_delay_s', s.max_delay_s,
                'queue', s.queue, 'handler', s.handler, 'params', s.params::jsonb
            ))
            from pgflow.workflow_steps as s where s.version_id = v.version_id
        ), '{}')
    )
    from pgflow.workflow_versions as v where v.version_id = p_version_id
$$;
