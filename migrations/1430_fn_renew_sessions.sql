-- Renews the leases of a coordinator's sessions: one statement for all, one small row each, no task is touched.
--   session: open -> open until p_lease_ms from now, where the epoch is still the caller's.
--   Returns the sessions that were renewed; the streams of the others are not theirs any more.
create or replace function pgflow.renew_sessions(p_session_ids uuid[], p_epochs int[], p_lease_ms int)
returns setof uuid
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return query
    -- Locked in order: a coordinator may be closing some of them.
    with open as materialized (
        select s.session_id
        from unnest(p_session_ids, p_epochs) as u (session_id, epoch)
        join pgflow.sessions as s on s.session_id = u.session_id
        where s.epoch = u.epoch and s.closed_at is null
        order by s.session_id for no key update of s
    )
    update pgflow.sessions as s
    set lease_until = pgflow.now() + p_lease_ms * interval '1 millisecond'
    from open
    where s.session_id = open.session_id
    returning s.session_id;
end
$$;
