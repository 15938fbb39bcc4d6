-- Writes the next chunk of rows of one large map that is waiting for them.
--   map step: see expand_map. Returns the rows still to be written over all maps that wait: true = call again.
--   Any coordinator may call it at any time. Locks: the map's run SKIP LOCKED, then it looks again.
create or replace function pgflow.expand_maps(p_limit int default 10000) returns boolean
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_map record;
    v_done boolean;
begin
    for v_map in select run_id, step_index from pgflow.map_expansions order by created_at, run_id, step_index limit 50
    loop
        perform 1 from pgflow.runs where run_id = v_map.run_id for no key update skip locked;
        continue when not found;
        perform 1 from pgflow.map_expansions as e
        join pgflow.runs as r on r.run_id = e.run_id and r.completed_at is null
        where e.run_id = v_map.run_id and e.step_index = v_map.step_index;
        if not found then
            delete from pgflow.map_expansions where run_id = v_map.run_id and step_index = v_map.step_index;
            continue;
        end if;
        if pgflow.expand_map(v_map.run_id, v_map.step_index, p_limit) then
            delete from pgflow.map_expansions where run_id = v_map.run_id and step_index = v_map.step_index;
        end if;
        return true;
    end loop;
    return false;
end
$$;
