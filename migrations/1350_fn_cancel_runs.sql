-- Cancels runs with all that is open in them.
--   run: started -> cancelled; a run that has ended stays as it is (cancelled = false); unknown ids give no row.
--   Locks the runs in order. Raises 55P03 when somebody keeps one for 3 s.
create or replace function pgflow.cancel_runs(p_run_ids uuid[], p_reason text default '')
returns table (run_id uuid, cancelled boolean)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '3s'
as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_run_ids uuid[];
begin
    perform 1 from pgflow.runs where run_id = any(p_run_ids) order by run_id for no key update;
    -- Read after the wait: a run does not end before what ended in it meanwhile.
    v_now := pgflow.now();
    v_run_ids := array(
        select run_id from pgflow.runs where run_id = any(p_run_ids) and status = 'started' order by run_id
    );
    if cardinality(v_run_ids) > 0 then
        perform pgflow.end_open_work(v_run_ids);
        update pgflow.runs
        set status = 'cancelled', completed_at = v_now, revision = revision + 1,
            error_code = 'CANCELLED', error_message = left(p_reason, 8192)
        where run_id = any(v_run_ids);
    end if;
    return query
    select r.run_id, r.run_id = any(v_run_ids) from pgflow.runs as r where r.run_id = any(p_run_ids);
end
$$;
