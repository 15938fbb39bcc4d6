-- Renews the leases of a coordinator's sessions: one statement for all, one small row each, no task is touched.
--   session: open -> open until p_lease_ms from now, where the epoch is still the caller's.
--   p_credits, p_silent_ms: for ListWorkers, side by side with the ids: credits without a task, and milliseconds since
--   the last frame.
--   Returns the sessions that were renewed, and those that somebody has locked, to resume or end them: whose they are the
--   next renewal tells. The streams of the others are not theirs any more.
--   Locks: the sessions, SKIP LOCKED: one whose resume waits for a run must not let all others run out.
create or replace function pgflow.renew_sessions(
    p_session_ids uuid[], p_epochs int[], p_lease_ms int, p_credits int[] default '{}',
    p_silent_ms int[] default '{}'
) returns setof uuid
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
begin
    return query
    with asked as materialized (
        select s.session_id
        from unnest(p_session_ids, p_epochs) as u (session_id, epoch)
        join pgflow.sessions as s on s.session_id = u.session_id
        where s.epoch = u.epoch and s.closed_at is null
    ),
    open as materialized (
        select s.session_id, u.credits, u.silent_ms
        from unnest(p_session_ids, p_epochs, p_credits, p_silent_ms) as u (session_id, epoch, credits, silent_ms)
        join pgflow.sessions as s on s.session_id = u.session_id
        where s.epoch = u.epoch and s.closed_at is null
        for no key update of s skip locked
    ),
    renewed as (
        update pgflow.sessions as s
        set lease_until = v_now + p_lease_ms * interval '1 millisecond', credits = coalesce(open.credits, 0),
            seen_at = v_now - coalesce(open.silent_ms, 0) * interval '1 millisecond'
        from open
        where s.session_id = open.session_id
    )
    select session_id from asked;
end
$$;
