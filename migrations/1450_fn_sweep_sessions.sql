-- Ends sessions whose lease ran out, finds leases that raced the end of theirs, and forgets sessions that ended more
-- than 10 minutes ago.
--   session: open -> closed, its tasks lost; those of a lease that raced count no loss. Returns the sessions that ran
--   out now: call again until there are none, since a sweep takes back some 10,000 tasks of each kind at most (whole
--   sessions, at least one).
--   p_heard_at: when the caller last heard from this database, by the database's clock. More than p_max_silence_ms ago:
--   nothing happens. A statement that hung while nobody could renew must not be the first to run afterwards.
--   Call it only after a whole lease of unbroken contact with the database, else an outage kills healthy workers'
--   tasks. Locks: sessions (SKIP LOCKED: one that is being resumed is alive), then runs. When somebody keeps a run for
--   3 s, the tasks of the other runs go back all the same, and later sweeps take back the rest, which counts no loss.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.sweep_sessions(int, int);
create or replace function pgflow.sweep_sessions(
    p_limit int default 500, p_max_lost_leases int default 5, p_heard_at timestamptz default null,
    p_max_silence_ms int default null
) returns setof uuid
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set jit = off
set lock_timeout = '3s'
as $$
declare
    c_max_tasks constant int := 10000;
    v_now constant timestamptz := pgflow.now();
    v_raced uuid[];
    v_expired uuid[];
begin
    if v_now - p_heard_at > p_max_silence_ms * interval '1 millisecond' then
        return;
    end if;
    delete from pgflow.sessions as s
    where s.session_id = any(array(
        select o.session_id from pgflow.sessions as o
        where o.closed_at < v_now - interval '10 minutes'
          and not exists (select from pgflow.lease_batches as b where b.session_id = o.session_id)
        order by o.session_id limit p_limit for update skip locked
    ));

    v_raced := array(
        select s.session_id from pgflow.sessions as s
        where s.closed_at is not null
          and exists (select from pgflow.lease_batches as b where b.session_id = s.session_id)
        order by s.session_id limit p_limit for update skip locked
    );
    v_expired := array(
        select session_id from pgflow.sessions
        where closed_at is null and lease_until < v_now
        order by session_id limit p_limit for update skip locked
    );
    -- Each kind has a bound of its own: neither workers that die all the time nor races whose run somebody keeps may
    -- hide the other kind.
    select array_agg(held.session_id) filter (where not held.is_expired),
           array_agg(held.session_id) filter (where held.is_expired)
    into v_raced, v_expired
    from (
        select u.session_id, u.is_expired, row_number() over kind as position, 
               coalesce(sum(n.task_count) over kind, 0) as task_count
        from (
            select session_id, false from unnest(v_raced) as r (session_id)
            union all
            select session_id, true from unnest(v_expired) as e (session_id)
        ) as u (session_id, is_expired)
        left join pgflow.count_leases(v_raced || v_expired) as n on n.session_id = u.session_id
        window kind as (partition by u.is_expired order by u.session_id)
    ) as held
    where held.position = 1 or held.task_count <= c_max_tasks;
    if v_raced is null and v_expired is null then
        return;
    end if;

    update pgflow.sessions set closed_at = v_now where session_id = any(v_expired);
    delete from pgflow.session_handlers where session_id = any(v_expired);
    -- Both kinds at once: a second round of run locks in one transaction could meet another's first.
    begin
        perform pgflow.return_leases(
            v_raced || v_expired, true, p_max_lost_leases, p_uncounted_session_ids => v_raced);
    exception when lock_not_available then
        perform pgflow.return_leases(
            v_raced || v_expired, true, p_max_lost_leases, p_uncounted_session_ids => v_raced,
            p_skip_locked => true);
    end;
    return query select unnest(v_expired);
end
$$;
