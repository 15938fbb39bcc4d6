-- Creates a flow with all its steps in one transaction, or a new version of it.
--   p_steps: array of objects with the keys of version_shape and slug; a step stands behind its dependencies.
--   nothing -> version 1; a shape that equals any existing version -> that version, created = false; without steps
--   only the options of the latest version are compared; p_new_version: another shape -> version latest + 1.
--   p_default_queue: shared queue of a flow that is made without p_queue; null = a queue of its own. It is no part of
--   the shape: a server that gets another default still knows every flow. A new version stays where its flow is.
--   Raises PF400 for a bad value, PF409 with the differences from the latest version.
--   Race-safe: the flow's row orders creators; of equal shapes one wins and the others see it.
-- The signature without p_default_queue: left in place it would be an overload.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.define_flow(text, int, int, int, int, text, json, boolean);
create or replace function pgflow.define_flow(
    p_workflow_slug text, p_max_attempts int, p_timeout int, p_base_delay_s int, p_max_delay_s int, p_queue text,
    p_steps json, p_new_version boolean default false, p_default_queue text default null
) returns table (version_id int, version int, created boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_flow pgflow.workflows;
    v_version pgflow.workflow_versions;
    v_has_steps constant boolean := json_array_length(p_steps) > 0;
    v_wanted jsonb;
    v_existing jsonb;
    v_differences text;
    v_step json;
    v_slug text;
    v_is_new boolean;
    v_queue_id int;
begin
    p_max_attempts := coalesce(p_max_attempts, 3);
    p_timeout := coalesce(p_timeout, 30);
    perform pgflow.check_name('slug', p_workflow_slug);
    perform pgflow.check_options(
        '', p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, coalesce(p_queue, p_default_queue));
    begin
        v_wanted := pgflow.wanted_shape(
            p_workflow_slug, p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue, p_steps);
    exception
        when data_exception then
            raise exception 'steps: cannot be compared (%); use integers for counts and seconds, and params without U+0000',
                sqlerrm using errcode = 'PF400', constraint = 'INVALID_JSON';
    end;

    select value ->> 'slug' into v_slug from json_array_elements(p_steps) group by 1 having count(*) > 1 limit 1;
    if found then
        raise exception 'steps: "%" is the slug of two steps; choose another for one of them', v_slug
            using errcode = 'PF400', constraint = 'DUPLICATE_STEP';
    end if;

    loop
        select * into v_flow from pgflow.workflows where workflow_slug = p_workflow_slug for no key update;
        v_is_new := not found;
        exit when not v_is_new;
        -- Only now: each try to insert uses up a workflow_id.
        insert into pgflow.workflows (workflow_slug, max_attempts, timeout, base_delay_s, max_delay_s, queue)
        values (p_workflow_slug, p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue)
        on conflict (workflow_slug) do nothing
        returning * into v_flow;
        exit when found;
    end loop;
    if not v_is_new then
        for v_version in
            select * from pgflow.workflow_versions as v
            where v.workflow_slug = p_workflow_slug and (v_has_steps or v.version = v_flow.latest_version)
            order by v.version = v_flow.latest_version desc, v.version
        loop
            v_existing := pgflow.version_shape(v_version.version_id);
            if not v_has_steps then
                v_existing := jsonb_set(v_existing, '{steps}', '{}');
            end if;
            -- Reading a flow shows the default's name: sent back as it was read, it is the same flow.
            if v_version.queue is null
                and p_queue = (select q.queue_name from pgflow.queues as q where q.queue_id = v_version.queue_id)
            then
                v_existing := jsonb_set(v_existing, '{queue}', to_jsonb(p_queue));
            end if;
            if v_existing = v_wanted then
                return query select v_version.version_id, v_version.version, false;
                return;
            end if;
            -- The latest comes first.
            v_differences := coalesce(v_differences, pgflow.shape_differences(v_existing, v_wanted));
        end loop;
        if not coalesce(p_new_version, false) then
            raise exception 'slug: flow "%" exists with another shape: %; use the same shape, another slug, or set new_version',
                p_workflow_slug, v_differences using errcode = 'PF409', constraint = 'FLOW_EXISTS';
        end if;
        update pgflow.workflows as w
        set latest_version = w.latest_version + 1, max_attempts = p_max_attempts, timeout = p_timeout,
            base_delay_s = p_base_delay_s, max_delay_s = p_max_delay_s, queue = p_queue
        where w.workflow_slug = p_workflow_slug
        returning * into v_flow;
    end if;

    if p_queue is null then
        select v.queue_id into v_queue_id from pgflow.workflow_versions as v
        where v.workflow_slug = p_workflow_slug and v.queue is null limit 1;
        if not found then
            p_queue := p_default_queue;
        end if;
    end if;
    -- Shared queues are made in one order by all, or two definitions could wait for each other.
    perform pgflow.ensure_queue(q.name)
    from (
        select distinct name collate "C" as name
        from (select p_queue union all select value ->> 'queue' from json_array_elements(p_steps)) as asked (name)
        where pgflow.is_valid_slug(name) order by 1
    ) as q;
    insert into pgflow.workflow_versions (
        workflow_id, workflow_slug, version, max_attempts, timeout, base_delay_s, max_delay_s, queue, queue_id
    ) values (
        v_flow.workflow_id, p_workflow_slug, v_flow.latest_version, p_max_attempts, p_timeout, p_base_delay_s,
        p_max_delay_s, v_flow.queue, coalesce(v_queue_id, pgflow.ensure_queue(p_queue))
    ) returning * into v_version;
    for v_step in select value from json_array_elements(p_steps) loop
        perform pgflow.add_step(
            p_workflow_slug, v_step ->> 'slug',
            array(select json_array_elements_text(coalesce(v_step -> 'depends_on', '[]'))),
            v_step ->> 'step_type', (v_step ->> 'initial_tasks')::int, (v_step ->> 'max_attempts')::int,
            (v_step ->> 'timeout_s')::int, v_step ->> 'handler',
            case when json_typeof(v_step -> 'params') <> 'null' then v_step -> 'params' end,
            (v_step ->> 'base_delay_s')::int, (v_step ->> 'max_delay_s')::int, v_step ->> 'queue');
    end loop;
    return query select v_version.version_id, v_version.version, true;
end
$$;
