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
    -- Hops from flow to flow along runs_by_workflow: cheap however many runs there are.
    for v_workflow_id in
        with recursive flow (workflow_id) as (
            (select workflow_id from pgflow.runs order by workflow_id limit 1)
            union all
            select (
                select r.workflow_id from pgflow.runs as r
                where r.workflow_id > flow.workflow_id order by r.workflow_id limit 1
            )
            from flow where flow.workflow_id is not null
        )
        select workflow_id from flow
        where workflow_id is not null
          and not exists (select from pgflow.workflows as w where w.workflow_id = flow.workflow_id)
    loop
        exit when cardinality(v_run_ids) >= p_limit;
        v_run_ids := v_run_ids || array(
            select run_id from pgflow.runs where workflow_id = v_workflow_id
            order by run_id limit p_limit - cardinality(v_run_ids) for update skip locked
        );
    end loop;
    if cardinality(v_run_ids) = 0 then
        return 0;
    end if;
    delete from pgflow.task_progress where run_id = any(v_run_ids);
    delete from pgflow.task_errors where run_id = any(v_run_ids);
    delete from pgflow.map_expansions where run_id = any(v_run_ids);
    delete from pgflow.step_tasks where run_id = any(v_run_ids);
    delete from pgflow.step_states where run_id = any(v_run_ids);
    delete from pgflow.runs where run_id = any(v_run_ids);
    return cardinality(v_run_ids);
end
$$;
