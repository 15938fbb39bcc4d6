-- Deletes the rows of at most p_limit runs that ended more than p_age_s seconds ago, the longest ended first. Returns how
-- many runs; call again while it is p_limit.
--   Their idempotency keys are free again. Locks: the runs, SKIP LOCKED, so that any number of coordinators may prune.
create or replace function pgflow.prune_ended_runs(p_age_s double precision, p_limit int default 500) returns int
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_before constant timestamptz := pgflow.now() - make_interval(secs => p_age_s);
    v_run_ids constant uuid[] := array(
        select run_id from pgflow.runs where completed_at < v_before
        order by completed_at limit p_limit for update skip locked
    );
begin
    if cardinality(v_run_ids) > 0 then
        perform pgflow.delete_runs(v_run_ids);
    end if;
    return cardinality(v_run_ids);
end
$$;
