-- Creates a flow without steps: nothing -> version 1. The same options again change nothing.
--   null: p_timeout and p_max_attempts as their defaults, delays = the server's defaults, p_queue = a queue of its own.
--   Returns the flow. Raises PF400 for a bad value, PF409 when the flow exists with other options.
--   Race-safe: of concurrent creators one wins; the others wait for it and compare. Locks the flow's row.
create or replace function pgflow.create_flow(
    p_workflow_slug text, p_max_attempts int default 3, p_timeout int default 30, p_base_delay_s int default null,
    p_max_delay_s int default null, p_queue text default null
) returns pgflow.workflows
language plpgsql
as $$
declare
    v_flow pgflow.workflows;
    v_is_new boolean;
    v_differences text;
begin
    p_max_attempts := coalesce(p_max_attempts, 3);
    p_timeout := coalesce(p_timeout, 30);
    perform pgflow.check_name('slug', p_workflow_slug);
    perform pgflow.check_options('', p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue);

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
    if v_is_new then
        insert into pgflow.workflow_versions (
            workflow_id, workflow_slug, version, max_attempts, timeout, base_delay_s, max_delay_s, queue, queue_id
        ) values (
            v_flow.workflow_id, p_workflow_slug, 1, p_max_attempts, p_timeout, p_base_delay_s, p_max_delay_s, p_queue,
            pgflow.ensure_queue(p_queue)
        );
        return v_flow;
    end if;

    v_differences := pgflow.differences(
        array['max_attempts', 'timeout', 'base_delay_s', 'max_delay_s', 'queue'],
        array[v_flow.max_attempts::text, v_flow.timeout::text, v_flow.base_delay_s::text, v_flow.max_delay_s::text,
              v_flow.queue],
        array[p_max_attempts::text, p_timeout::text, p_base_delay_s::text, p_max_delay_s::text, p_queue]
    );
    if v_differences is not null then
        raise exception 'slug: flow "%" exists with other options: %; use the same options, another slug, or a new version',
            p_workflow_slug, v_differences using errcode = 'PF409', constraint = 'FLOW_EXISTS';
    end if;
    return v_flow;
end
$$;
