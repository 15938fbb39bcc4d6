-- Ends everything that is open in runs that are ending: no task stays queued or started under a terminal run.
--   task: queued, started -> cancelled, its message deleted; step: created, started -> cancelled.
--   p_raised_run_ids: runs whose revision this transaction has raised already.
--   Caller holds the runs' locks, and writes the runs' own status. Messages go before their tasks, the order of leases:
--   one that is under way is waited for at its message, and then its tasks are started ones. Tells every coordinator
--   which runs ended, so that workers stop their tasks.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.end_open_work(uuid[]);
create or replace function pgflow.end_open_work(p_run_ids uuid[], p_raised_run_ids uuid[] default '{}') returns void
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_queue_ids int[];
    v_message_ids bigint[];
begin
    select array_agg(r.queue_id), array_agg(t.message_id) into v_queue_ids, v_message_ids
    from pgflow.step_tasks as t
    join pgflow.step_states as s on s.run_id = t.run_id and s.step_index = t.step_index
    join pgflow.routes as r on r.route_id = s.route_id
    where t.run_id = any(p_run_ids) and t.message_id is not null;

    perform pgmq.delete('pgflow_' || u.queue_id, array_agg(u.message_id))
    from unnest(v_queue_ids, v_message_ids) as u (queue_id, message_id)
    group by u.queue_id;

    update pgflow.step_tasks
    set status = 'cancelled', session_id = null, message_id = null, available_at = null, completed_at = v_now
    where run_id = any(p_run_ids) and status in ('queued', 'started');

    update pgflow.step_states as s
    set status = 'cancelled', completed_at = v_now,
        revision = r.revision + (r.run_id = any(p_raised_run_ids) is not true)::int
    from pgflow.runs as r
    where r.run_id = any(p_run_ids) and s.run_id = r.run_id and s.status in ('created', 'started');

    delete from pgflow.map_expansions where run_id = any(p_run_ids);

    perform pg_notify(
        'pgflow_ended', case when cardinality(p_run_ids) > 100 then '*' else array_to_string(p_run_ids, ',') end
    );
end
$$;
