-- Writes the next chunk of rows of one large map that is waiting for them: of the oldest whose run nobody has locked.
--   map step: see expand_map. Returns true when there may be more to do: call again at once; false when no map waits.
--   Any coordinator may call it at any time. Locks: the map's run SKIP LOCKED, then it looks again. When others have the
--   runs of all maps it waits for the oldest, 1 s at most: results lock the run of a busy map nearly all the time, and
--   who only looks for a gap between them starves.
create or replace function pgflow.expand_maps(p_limit int default 10000) returns boolean
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
set lock_timeout = '1s'
as $$
declare
    v_run_id uuid;
    v_step_index smallint;
begin
    select r.run_id into v_run_id
    from pgflow.map_expansions as e
    join pgflow.runs as r on r.run_id = e.run_id
    order by e.created_at, e.run_id
    limit 1 for no key update of r skip locked;
    if not found then
        select run_id into v_run_id from pgflow.map_expansions order by created_at, run_id limit 1;
        if not found then
            return false;
        end if;
        begin
            perform 1 from pgflow.runs where run_id = v_run_id for no key update;
        exception when lock_not_available then
            return true;
        end;
    end if;

    select e.step_index into v_step_index
    from pgflow.map_expansions as e
    join pgflow.runs as r on r.run_id = e.run_id and r.completed_at is null
    where e.run_id = v_run_id
    order by e.created_at, e.step_index
    limit 1;
    if not found then
        delete from pgflow.map_expansions where run_id = v_run_id;
    elsif pgflow.expand_map(v_run_id, v_step_index, p_limit) then
        delete from pgflow.map_expansions where run_id = v_run_id and step_index = v_step_index;
    end if;
    return true;
end
$$;
