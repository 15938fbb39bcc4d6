-- Deletes the rows of runs that have ended or whose flow is gone, and lets prune_plans look at their plans at once.
--   The caller has locked them. Locks: their plans, in one order.
create or replace function pgflow.delete_runs(p_run_ids uuid[]) returns void
language plpgsql
set enable_seqscan = off
set jit = off
as $$
declare
    v_workflow_ids int[];
begin
    delete from pgflow.task_progress where run_id = any(p_run_ids);
    delete from pgflow.task_errors where run_id = any(p_run_ids);
    delete from pgflow.map_expansions where run_id = any(p_run_ids);
    delete from pgflow.step_tasks where run_id = any(p_run_ids);
    delete from pgflow.step_states where run_id = any(p_run_ids);
    with deleted as (
        delete from pgflow.runs where run_id = any(p_run_ids) returning workflow_id, is_plan
    )
    select array_agg(distinct workflow_id) into v_workflow_ids from deleted where is_plan;
    if v_workflow_ids is not null then
        perform 1 from pgflow.workflows where workflow_id = any(v_workflow_ids) order by workflow_id for no key update;
        update pgflow.workflows set prune_at = pgflow.now() where workflow_id = any(v_workflow_ids);
    end if;
end
$$;
