-- Removes inline plans that no run uses any more, or that never got a run: of those that are due (prune_at), at most
-- p_limit are looked at. Returns how many; call again while it is p_limit.
--   With them go the routes of the common scope that no step in their queue needs; those of other scopes go by
--   prune_names.
--   Locks: the row of their queue, or nothing is done this time: whoever adds a step there holds that row, so no step
--   can begin to need a route that goes. Then plans, SKIP LOCKED, and only then it looks for runs: a start that is under
--   way holds its plan and keeps it, one that comes now waits and finds it gone. It waits for nothing.
create or replace function pgflow.prune_plans(p_limit int default 500) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set join_collapse_limit = 1
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_queue_id int;
    v_slugs text[];
    v_unused text[];
    v_handlers text[];
begin
    if not exists (select from pgflow.workflows where prune_at <= v_now) then
        return 0;
    end if;
    select queue_id into v_queue_id from pgflow.queues where queue_name = 'plans' for update skip locked;
    if not found then
        return 0;
    end if;
    v_slugs := array(
        select workflow_slug from pgflow.workflows where prune_at <= v_now
        order by prune_at limit p_limit for update skip locked
    );
    v_unused := array(
        select w.workflow_slug
        from unnest(v_slugs) as u (slug)
        join pgflow.workflows as w on w.workflow_slug = u.slug
        where not exists (select from pgflow.runs as r where r.workflow_id = w.workflow_id)
    );
    -- The end of their last run makes the others due again.
    update pgflow.workflows set prune_at = null
    where workflow_slug = any(v_slugs) and workflow_slug <> all(v_unused);
    v_handlers := array(
        select distinct s.handler
        from unnest(v_unused) as u (slug)
        join pgflow.workflow_versions as v on v.workflow_slug = u.slug
        join pgflow.workflow_steps as s on s.version_id = v.version_id
    );
    delete from pgflow.workflows where workflow_slug = any(v_unused);

    delete from pgflow.routes as r
    where r.queue_id = v_queue_id and r.scope = '' and r.handler = any(v_handlers)
      and not exists (
          select from pgflow.workflow_steps as s where s.handler = r.handler and s.queue_id = r.queue_id
      );
    return cardinality(v_slugs);
end
$$;
