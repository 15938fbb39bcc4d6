-- Ends sessions whose lease ran out, or else finds leases that raced the end of theirs, and forgets sessions that ended more
-- than 10 minutes ago.
--   session: open -> closed, its tasks lost. Returns the sessions that ran out now.
--   Call it only after a whole lease of unbroken contact with the database, else an outage kills healthy workers'
--   tasks. Locks: sessions (SKIP LOCKED: one that is being resumed is alive), then runs.
create or replace function pgflow.sweep_sessions(p_limit int default 500, p_max_lost_leases int default 5)
returns setof uuid
language plpgsql
set enable_seqscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_expired uuid[];
    v_raced uuid[];
begin
    v_expired := array(
        select session_id from pgflow.sessions
        where closed_at is null and lease_until < v_now
        order by session_id limit p_limit for update skip locked
    );
    if cardinality(v_expired) > 0 then
        update pgflow.sessions set closed_at = v_now where session_id = any(v_expired);
        delete from pgflow.session_handlers where session_id = any(v_expired);
        perform pgflow.return_leases(v_expired, true, p_max_lost_leases);
        -- The rest is the next sweep's: a second round of run locks could meet another's first.
        return query select unnest(v_expired);
        return;
    end if;

    v_raced := array(
        select s.session_id from pgflow.sessions as s
        where s.closed_at is not null
          and exists (select from pgflow.step_tasks as t where t.session_id = s.session_id)
        order by s.session_id limit p_limit for update skip locked
    );
    if cardinality(v_raced) > 0 then
        perform pgflow.return_leases(v_raced, false, p_max_lost_leases);
    end if;

    delete from pgflow.sessions as s
    where s.session_id = any(array(
        select o.session_id from pgflow.sessions as o
        where o.closed_at < v_now - interval '10 minutes'
          and not exists (select from pgflow.step_tasks as t where t.session_id = o.session_id)
        order by o.session_id limit p_limit for update skip locked
    ));
end
$$;
