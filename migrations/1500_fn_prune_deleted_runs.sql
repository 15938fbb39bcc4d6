-- Deletes the rows of at most p_limit runs whose flow is gone. Returns how many runs; call again while it is p_limit.
--   Locks: the runs, SKIP LOCKED, so that any number of coordinators may prune.
create or replace function pgflow.prune_deleted_runs(p_limit int default 500) returns int
language plpgsql
set enable_seqscan = off
set jit = off
as $$
declare
    v_workflow_id int;
    v_run_ids uuid[] := '{}';
begin
    for v_workflow_id in select workflow_id from pgflow.deleted_workflows order by workflow_id loop
        exit when cardinality(v_run_ids) >= p_limit;
        -- No run of it can begin any more.
        if not exists (select from pgflow.runs where workflow_id = v_workflow_id) then
            delete from pgflow.deleted_workflows where workflow_id = v_workflow_id;
        end if;
        v_run_ids := v_run_ids || array(
            select run_id from pgflow.runs where workflow_id = v_workflow_id
            order by run_id limit p_limit - cardinality(v_run_ids) for update skip locked
        );
    end loop;
    if cardinality(v_run_ids) > 0 then
        perform pgflow.delete_runs(v_run_ids);
    end if;
    return cardinality(v_run_ids);
end
$$;
