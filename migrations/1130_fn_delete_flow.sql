-- Deletes a flow: all versions, its routes and its own queue. The slug is free and the flow's runs are unknown at once;
-- their rows go later, by prune_deleted_runs.
--   p_force: cancels active runs first; false refuses while there are any. Returns the number of runs cancelled.
--   Raises PF404 for an unknown flow, PF412 for active runs.
--   Locks: the flow's row for update (starts wait and then find it gone), then its active runs, then the queue's table,
--   alone. Leases of all flows may stand in line behind that, so it gives up with 55P03 when a backup, say, keeps any
--   of them from it for 3 s.
create or replace function pgflow.delete_flow(p_workflow_slug text, p_force boolean default false) returns int
language plpgsql
set lock_timeout = '3s'
as $$
declare
    v_active uuid[];
    v_queue_ids int[];
    v_routes int[];
    v_cancelled int := 0;
    v_queue_id int;
begin
    if starts_with(p_workflow_slug, 'plan:') then
        perform pgflow.check_name('flow', p_workflow_slug);
    end if;
    perform 1 from pgflow.workflows where workflow_slug = p_workflow_slug for update;
    if not found then
        raise exception 'flow: no flow is called "%"; nothing was deleted', left(p_workflow_slug, 140)
            using errcode = 'PF404', constraint = 'FLOW_NOT_FOUND';
    end if;
    v_active := array(
        select r.run_id from pgflow.runs as r
        join pgflow.workflow_versions as v on v.version_id = r.version_id
        where v.workflow_slug = p_workflow_slug and r.completed_at is null
    );
    if cardinality(v_active) > 0 and not p_force then
        raise exception 'flow: "%" has %; wait, or delete with force, which cancels active runs', p_workflow_slug,
            case cardinality(v_active) when 1 then '1 active run' else cardinality(v_active) || ' active runs' end using errcode = 'PF412', constraint = 'FLOW_HAS_ACTIVE_RUNS';
    end if;
    if cardinality(v_active) > 0 then
        select count(*) filter (where c.cancelled) into v_cancelled
        from pgflow.cancel_runs(v_active, 'the flow was deleted') as c;
    end if;

    v_queue_ids := array(
        select distinct q.queue_id from pgflow.workflow_versions as v
        join pgflow.queues as q on q.queue_id = v.queue_id and q.queue_name is null
        where v.workflow_slug = p_workflow_slug
    );
    -- In shared queues only the routes of handlers that bear this flow's name: another could be taken up by another
    -- flow at this very moment, and its runs would wait on a route that is gone. Routes of scopes go by prune_names.
    v_routes := array(
        select r.route_id from pgflow.workflow_steps as s
        join pgflow.routes as r on r.queue_id = s.queue_id and r.handler = s.handler and r.scope = ''
        where s.workflow_slug = p_workflow_slug and starts_with(s.handler, p_workflow_slug || '.')
          and not exists (
              select from pgflow.workflow_steps as o
              where o.queue_id = s.queue_id and o.handler = s.handler and o.workflow_slug <> p_workflow_slug
          )
    );
    insert into pgflow.deleted_workflows (workflow_id)
    select workflow_id from pgflow.workflows where workflow_slug = p_workflow_slug;
    delete from pgflow.workflows where workflow_slug = p_workflow_slug;
    delete from pgflow.routes where route_id = any(v_routes);
    foreach v_queue_id in array v_queue_ids loop
        delete from pgflow.queues where queue_id = v_queue_id;
        perform pgmq.drop_queue('pgflow_' || v_queue_id);
        execute format('drop function if exists pgflow.take_%1$s, pgflow.send_%1$s', v_queue_id);
    end loop;
    return v_cancelled;
end
$$;
