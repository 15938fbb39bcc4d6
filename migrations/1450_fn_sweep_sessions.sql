-- Ends sessions whose lease ran out, finds leases that raced the end of theirs, and forgets sessions that ended more than
-- 10 minutes ago.
--   session: open -> closed, its tasks lost. Returns the sessions that ran out now: call again until there are none,
--   since a sweep takes back some 10,000 tasks at most (whole sessions, at least one), and leases that raced go first.
--   Call it only after a whole lease of unbroken contact with the database, else an outage kills healthy workers'
--   tasks. Locks: sessions (SKIP LOCKED: one that is being resumed is alive), then runs.
create or replace function pgflow.sweep_sessions(p_limit int default 500, p_max_lost_leases int default 5)
returns setof uuid
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_tasks constant int := 10000;
    v_now constant timestamptz := pgflow.now();
    v_session_ids uuid[];
    v_are_expired boolean := false;
begin
    delete from pgflow.sessions as s
    where s.session_id = any(array(
        select o.session_id from pgflow.sessions as o
        where o.closed_at < v_now - interval '10 minutes'
          and not exists (select from pgflow.step_tasks as t where t.session_id = o.session_id)
        order by o.session_id limit p_limit for update skip locked
    ));

    -- One of the two in a transaction: a second round of run locks could meet another's first. The races are few and
    -- soon over; the other way round, a worker that dies every second would leave their tasks where they are for ever.
    v_session_ids := array(
        select s.session_id from pgflow.sessions as s
        where s.closed_at is not null
          and exists (select from pgflow.step_tasks as t where t.session_id = s.session_id)
        order by s.session_id limit p_limit for update skip locked
    );
    if cardinality(v_session_ids) = 0 then
        v_are_expired := true;
        v_session_ids := array(
            select session_id from pgflow.sessions
            where closed_at is null and lease_until < v_now
            order by session_id limit p_limit for update skip locked
        );
    end if;
    v_session_ids := array(
        select held.session_id
        from (
            select u.session_id, u.item, sum(n.task_count) over (order by u.item) as task_count
            from unnest(v_session_ids) with ordinality as u (session_id, item)
            cross join lateral (
                select count(*) as task_count from pgflow.step_tasks as t where t.session_id = u.session_id
            ) as n
        ) as held
        where held.item = 1 or held.task_count <= c_max_tasks
    );
    if cardinality(v_session_ids) = 0 then
        return;
    end if;
    if v_are_expired then
        update pgflow.sessions set closed_at = v_now where session_id = any(v_session_ids);
        delete from pgflow.session_handlers where session_id = any(v_session_ids);
    end if;
    perform pgflow.return_leases(v_session_ids, v_are_expired, p_max_lost_leases);
    if v_are_expired then
        return query select unnest(v_session_ids);
    end if;
end
$$;
