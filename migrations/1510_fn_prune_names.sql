-- Forgets what only named scopes and passing workers leave behind: routes of scopes that no open run has used for
-- 10 minutes, workers that were not seen for 30 days, and details of handlers that no session serves. Returns how
-- many rows it forgot, or found in use still and looks at again in 10 minutes; call again while it is not 0.
--   Every execute() runs in a scope of its own, so without this the routes would grow for ever.
--   Locks: routes SKIP LOCKED, then it looks for runs: a start that has touched its route in an open transaction keeps
--   it, and one that comes now waits for the end of this transaction and makes the route anew.
create or replace function pgflow.prune_names(p_limit int default 500) returns int
language plpgsql
set enable_seqscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_route_ids int[];
    v_used_ids int[];
    v_workers int;
    v_details int;
begin
    -- The longest unused first.
    v_route_ids := array(
        select route_id from pgflow.routes
        where scope <> '' and used_at < v_now - interval '10 minutes'
        order by used_at limit p_limit for update skip locked
    );
    v_used_ids := array(
        select r.route_id from pgflow.routes as r
        where r.route_id = any(v_route_ids) and exists (
            select from pgflow.runs as o where o.scope = r.scope and o.scope <> '' and o.completed_at is null
        )
    );
    -- Those in use go to the end, else enough of them would hide the others for ever.
    update pgflow.routes set used_at = v_now where route_id = any(v_used_ids);
    delete from pgflow.routes where route_id = any(v_route_ids) and route_id <> all(v_used_ids);

    with old as (
        select w.worker_id from pgflow.workers as w
        where w.seen_at < v_now - interval '30 days'
          and not exists (select from pgflow.sessions as s where s.worker_id = w.worker_id)
        limit p_limit for update skip locked
    )
    delete from pgflow.workers as w using old where w.worker_id = old.worker_id;
    get diagnostics v_workers = row_count;

    -- A Hello that finds them renews seen_at first: an hour is far beyond what its transaction takes.
    with old as (
        select d.details_id from pgflow.handler_details as d
        where d.seen_at < v_now - interval '1 hour'
          and not exists (select from pgflow.session_handlers as h where h.details_id = d.details_id)
        limit p_limit for update skip locked
    )
    delete from pgflow.handler_details as d using old where d.details_id = old.details_id;
    get diagnostics v_details = row_count;
    return cardinality(v_route_ids) + v_workers + v_details;
end
$$;
