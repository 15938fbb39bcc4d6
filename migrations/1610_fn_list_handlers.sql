-- Lists the handlers that living sessions serve, by name and scope behind (p_after_handler, p_after_scope): the
-- catalogue. Reads only. The session that connected last describes each; steps are the first 100 of the latest
-- versions that use it, counted up to 10,000; those of inline plans are left out.
--   Hops along the keys, so that it costs what it returns: its sessions and steps, whatever the statistics say.
create or replace function pgflow.list_handlers(
    p_prefix text, p_after_handler text, p_after_scope text, p_limit int
) returns table (
    name text, scope text, description text, params_schema json, input_schema json, output_schema json,
    session_count int, steps text[], step_count int
)
language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := pgflow.now();
    v_next record;
    v_details_id int;
begin
    name := p_after_handler;
    scope := p_after_scope;
    while p_limit > 0 loop
        select h.handler, h.scope into v_next
        from pgflow.session_handlers as h
        where h.handler >= p_prefix and (h.handler, h.scope) > (list_handlers.name, list_handlers.scope)
        order by h.handler, h.scope limit 1;
        exit when not found or not starts_with(v_next.handler, p_prefix);
        name := v_next.handler;
        scope := v_next.scope;

        select count(*), (array_agg(h.details_id order by s.connected_at desc, s.session_id))[1]
        into list_handlers.session_count, v_details_id
        from pgflow.session_handlers as h
        join pgflow.sessions as s on s.session_id = h.session_id
        where h.handler = v_next.handler and h.scope = v_next.scope and s.closed_at is null and s.lease_until > v_now;
        continue when v_details_id is null;

        select d.description, d.params_schema, d.input_schema, d.output_schema
        into list_handlers.description, list_handlers.params_schema, list_handlers.input_schema,
             list_handlers.output_schema
        from pgflow.handler_details as d where d.details_id = v_details_id;

        select count(*), coalesce((array_agg(u.step order by u.workflow_slug, u.step_slug))[:100], '{}')
        into list_handlers.step_count, list_handlers.steps
        from (
            -- Around the inline plans, whatever their number.
            (
                select s.workflow_slug, s.step_slug, s.workflow_slug || '.' || s.step_slug as step
                from pgflow.workflow_steps as s
                where s.handler = v_next.handler and s.workflow_slug < 'plan:' and s.version = (
                    select w.latest_version from pgflow.workflows as w where w.workflow_slug = s.workflow_slug)
                order by s.workflow_slug, s.step_slug
                limit 10000
            )
            union all
            (
                select s.workflow_slug, s.step_slug, s.workflow_slug || '.' || s.step_slug as step
                from pgflow.workflow_steps as s
                where s.handler = v_next.handler and s.workflow_slug >= 'plan;' and s.version = (
                    select w.latest_version from pgflow.workflows as w where w.workflow_slug = s.workflow_slug)
                order by s.workflow_slug, s.step_slug
                limit 10000
            )
            limit 10000
        ) as u;
        return next;
        p_limit := p_limit - 1;
    end loop;
end
$$;
