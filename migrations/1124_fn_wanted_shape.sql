-- The shape that a definition asks for, in the form of version_shape.
create or replace function pgflow.wanted_shape(
    p_workflow_slug text, p_max_attempts int, p_timeout int, p_base_delay_s int, p_max_delay_s int, p_queue text,
    p_steps json
) returns jsonb
language sql immutable
as $$
    select jsonb_build_object(
        'max_attempts', p_max_attempts, 'timeout_s', p_timeout, 'base_delay_s', p_base_delay_s,
        'max_delay_s', p_max_delay_s, 'queue', p_queue,
        'steps', coalesce(jsonb_object_agg(s.value ->> 'slug', jsonb_build_object(
            'depends_on', coalesce((
                select jsonb_agg(d.slug order by d.slug collate "C")
                from json_array_elements_text(s.value -> 'depends_on') as d (slug)
            ), '[]'),
            'step_type', coalesce(s.value ->> 'step_type', 'single'),
            'initial_tasks', (s.value ->> 'initial_tasks')::int,
            'max_attempts', (s.value ->> 'max_attempts')::int,
            'timeout_s', (s.value ->> 'timeout_s')::int,
            'base_delay_s', (s.value ->> 'base_delay_s')::int,
            'max_delay_s', (s.value ->> 'max_delay_s')::int,
            'queue', s.value ->> 'queue',
            'handler', coalesce(s.value ->> 'handler', p_workflow_slug || '.' || (s.value ->> 'slug')),
            'params', case when json_typeof(s.value -> 'params') = 'object' then (s.value -> 'params')::jsonb else '{}' end
        )) filter (where s.value is not null), '{}')
    )
    from (select 1) as one left join json_array_elements(p_steps) as s (value) on true
$$;
