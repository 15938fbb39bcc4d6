-- Forgets what only named scopes and passing workers leave behind: routes of scopes that no open run has used for
-- 10 minutes, workers that were not seen for 30 days, and details of handlers that no session serves. Returns how
-- many rows; call again while it is not 0.
--   Every execute() runs in a scope of its own, so without this the routes would grow for ever.
--   Locks: routes SKIP LOCKED; a start that has touched its route in an open transaction keeps it.
create or replace function pgflow.prune_names(p_limit int default 500) returns int
language plpgsql
set enable_seqscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_scopes text[];
    v_routes int;
    v_workers int;
    v_details int;
begin
    v_scopes := array(
        select distinct r.scope from pgflow.routes as r
        where r.scope <> '' and r.used_at < v_now - interval '10 minutes' limit p_limit
    );
    if cardinality(v_scopes) > 0 then
        v_scopes := array(
            select scope from unnest(v_scopes) as u (scope)
            except
            select r.scope from pgflow.runs as r where r.completed_at is null and r.scope = any(v_scopes)
        );
    end if;
    with old as (
        select route_id from pgflow.routes
        where scope = any(v_scopes) and scope <> '' and used_at < v_now - interval '10 minutes'
        limit p_limit for update skip locked
    )
    delete from pgflow.routes as r using old where r.route_id = old.route_id;
    get diagnostics v_routes = row_count;

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
    return v_routes + v_workers + v_details;
end
$$;
