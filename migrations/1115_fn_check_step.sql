-- Refuses a step that breaks a rule of its flow: PF400 with the path, the value and the remedy.
--   Dependencies must exist in the version, so a cycle cannot be built one step at a time.
create or replace function pgflow.check_step(
    p_workflow_slug text, p_version_id int, p_step_slug text, p_depends_on text[], p_step_type text,
    p_initial_tasks int, p_handler text, p_params json
) returns void
language plpgsql stable
as $$
declare
    v_bad record;
begin
    perform pgflow.check_name('step.slug', p_step_slug);
    if p_step_type not in ('single', 'map') then
        raise exception 'step.step_type: "%" is no type; use single or map', p_step_type
            using errcode = 'PF400', constraint = 'FIELD_INVALID';
    end if;
    if not pgflow.is_valid_handler(p_handler) then
        raise exception 'step.handler: "%" is no handler name; use letters, digits, _ . - (a letter or _ first), 1 to 260 characters',
            left(p_handler, 270) using errcode = 'PF400', constraint = 'INVALID_HANDLER';
    end if;
    if octet_length(p_params::text) > 65536 then
        raise exception 'step.params: has % bytes, at most 65536 are allowed; pass a reference instead',
            octet_length(p_params::text) using errcode = 'PF400', constraint = 'PAYLOAD_TOO_LARGE';
    end if;
    if json_typeof(p_params) <> 'object' then
        raise exception 'step.params: is of type %; use a JSON object', json_typeof(p_params)
            using errcode = 'PF400', constraint = 'FIELD_INVALID';
    end if;
    begin
        -- Compared as jsonb, which takes less than json: no U+0000, no number beyond its numeric.
        perform p_params::jsonb;
    exception
        when data_exception then
            raise exception 'step.params: cannot be stored (%); use JSON without U+0000 and without gigantic numbers', sqlerrm
                using errcode = 'PF400', constraint = 'INVALID_JSON';
    end;
    if p_initial_tasks is not null and p_step_type <> 'map' then
        raise exception 'step.initial_tasks: step "%" is single, only a map has initial_tasks; drop it or make the step a map',
            p_step_slug using errcode = 'PF400', constraint = 'INITIAL_TASKS_ON_SINGLE';
    end if;
    if p_initial_tasks < 0 then
        raise exception 'step.initial_tasks: % is out of range; use 0 or more', p_initial_tasks
            using errcode = 'PF400', constraint = 'FIELD_OUT_OF_RANGE';
    end if;
    if cardinality(p_depends_on) > 2000 then
        raise exception 'step.depends_on: % dependencies, at most 2000 are allowed; join them in stages',
            cardinality(p_depends_on) using errcode = 'PF400', constraint = 'TOO_MANY_DEPENDENCIES';
    end if;
    if p_step_type = 'map' and cardinality(p_depends_on) > 1 then
        raise exception 'step.depends_on: map step "%" has % dependencies, a map has none (it maps over the run input) or one; put a single step between',
            p_step_slug, cardinality(p_depends_on) using errcode = 'PF400', constraint = 'MAP_DEPENDENCIES';
    end if;
    select u.slug, u.item - 1 as position,
           case
               when u.slug = p_step_slug then 'SELF_DEPENDENCY'
               when d.step_slug is null then 'UNKNOWN_DEPENDENCY'
               else 'DUPLICATE_DEPENDENCY'
           end as reason
    into v_bad
    from (
        select n.slug, n.item, row_number() over (partition by n.slug order by n.item) as occurrence
        from unnest(p_depends_on) with ordinality as n (slug, item)
    ) as u
    left join pgflow.workflow_steps as d on d.version_id = p_version_id and d.step_slug = u.slug
    where u.slug = p_step_slug or d.step_slug is null or u.occurrence > 1
    order by u.item limit 1;
    if found then
        raise exception 'step.depends_on[%]: step "%" %; %', v_bad.position, p_step_slug,
            case v_bad.reason
                when 'SELF_DEPENDENCY' then 'depends on itself'
                when 'UNKNOWN_DEPENDENCY' then format('depends on "%s", which flow "%s" does not have', left(v_bad.slug, 140), p_workflow_slug)
                else format('depends on "%s" twice', v_bad.slug)
            end,
            case v_bad.reason
                when 'UNKNOWN_DEPENDENCY' then 'add that step first, or correct the name'
                else 'drop it'
            end
            using errcode = 'PF400', constraint = v_bad.reason;
    end if;
end
$$;
