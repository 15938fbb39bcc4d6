-- Opens a session: nothing -> open, for one lease from now. Returns the worker's interned id.
--   Locks: the worker's name. Raises 55P03 when somebody keeps it for 3 s, see resume_session.
create or replace function pgflow.open_session(
    p_session_id uuid, p_instance_hash bytea, p_coordinator_id uuid, p_worker_name text, p_sdk text,
    p_lease_ms int, p_grace_ms int
) returns int
language plpgsql
set lock_timeout = '3s'
as $$
declare
    v_now timestamptz := pgflow.now();
    v_worker_id int;
begin
    insert into pgflow.workers (worker_name, seen_at) values (p_worker_name, v_now)
    on conflict (worker_name) do update set seen_at = v_now
    returning worker_id into v_worker_id;
    -- Others that open under the same name may have been waited for.
    v_now := pgflow.now();
    insert into pgflow.sessions (
        session_id, instance_hash, coordinator_id, worker_id, lease_until, seen_at, grace_ms, sdk, connected_at
    ) values (
        p_session_id, p_instance_hash, p_coordinator_id, v_worker_id,
        v_now + p_lease_ms * interval '1 millisecond', v_now, p_grace_ms, p_sdk, v_now
    );
    return v_worker_id;
end
$$;
