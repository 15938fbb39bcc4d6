-- Ends sessions and takes back what they hold.
--   session: open -> closed, where the epoch is still the caller's (a session resumed elsewhere stays).
--   p_lost: false after Goodbye, true when the worker vanished; see return_leases. Returns the number of tasks taken
--   back. Locks: the sessions in order, then the runs of their tasks. When somebody keeps a run for 3 s, sessions that
--   said Goodbye are closed all the same, and the next sweep takes their tasks back; for others it raises 55P03, and
--   they run out.
create or replace function pgflow.close_sessions(
    p_session_ids uuid[], p_epochs int[], p_lost boolean, p_max_lost_leases int default 5
) returns int
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '3s'
as $$
declare
    v_session_ids uuid[];
begin
    perform 1 from pgflow.sessions where session_id = any(p_session_ids) order by session_id for update;
    with closed as (
        update pgflow.sessions as s
        set closed_at = pgflow.now()
        from unnest(p_session_ids, p_epochs) as u (session_id, epoch)
        where s.session_id = u.session_id and s.epoch = u.epoch and s.closed_at is null
        returning s.session_id
    )
    select array_agg(session_id) into v_session_ids from closed;
    if v_session_ids is null then
        return 0;
    end if;
    delete from pgflow.session_handlers where session_id = any(v_session_ids);
    begin
        return pgflow.return_leases(v_session_ids, p_lost, p_max_lost_leases);
    exception when lock_not_available then
        if p_lost then
            raise;
        end if;
        return 0;
    end;
end
$$;
