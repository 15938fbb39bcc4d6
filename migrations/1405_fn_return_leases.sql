-- Takes back the started tasks of sessions, but those listed in p_kept_* (run, step, task, lease_seq, side by side).
--   task: started -> queued. p_lost: the worker vanished: counts a lost lease. The first goes back at once, later ones
--   wait with backoff, so that a task that kills its workers parts company with its neighbours; beyond
--   p_max_lost_leases the task fails with LEASE_LOST, and its run.
--   p_uncounted_session_ids: those of the sessions whose tasks count no loss all the same.
--   Returns the number of tasks taken back. Locks: the runs in order; caller holds the sessions' locks.
--   p_skip_locked: waits for no run; the tasks of those that others have locked stay where they are.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.return_leases(uuid[], boolean, int, uuid[], smallint[], int[], int[]);
create or replace function pgflow.return_leases(
    p_session_ids uuid[], p_lost boolean, p_max_lost_leases int default 5,
    p_kept_run_ids uuid[] default '{}', p_kept_step_indexes smallint[] default '{}',
    p_kept_task_indexes int[] default '{}', p_kept_lease_seqs int[] default '{}',
    p_uncounted_session_ids uuid[] default '{}', p_skip_locked boolean default false
) returns int
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_now timestamptz;
    v_run_ids uuid[];
    v_task record;
begin
    v_run_ids := array(
        select distinct e.run_id
        from pgflow.lease_entries as e
        -- (`offset 0`: see count_leases.)
        cross join lateral (
            select t.session_id from pgflow.step_tasks as t
            where t.run_id = e.run_id and t.step_index = e.step_index and t.task_index = e.task_index offset 0
        ) as t
        where e.session_id = any(p_session_ids) and t.session_id is not distinct from e.session_id
    );
    if p_skip_locked then
        v_run_ids := array(
            select run_id from pgflow.runs where run_id = any(v_run_ids) order by run_id for no key update skip locked
        );
    else
        perform 1 from pgflow.runs where run_id = any(v_run_ids) order by run_id for no key update;
    end if;
    -- Read after the wait: a lease is not lost before it began.
    v_now := pgflow.now();

    with taken as materialized (
        select t.run_id, t.step_index, t.task_index, t.lease_seq, t.failures, t.worker_id, t.started_at, l.is_lost,
               l.is_lost and t.lost_leases >= p_max_lost_leases as is_final,
               case when l.is_lost and t.lost_leases > 0 then pgflow.backoff_s(t.lost_leases, 1, 300) else 0 end
                   as delay_s
        from (
            select distinct e.run_id, e.step_index, e.task_index
            from pgflow.lease_entries as e where e.session_id = any(p_session_ids)
        ) as e
        join pgflow.step_tasks as t
            on t.run_id = e.run_id and t.step_index = e.step_index and t.task_index = e.task_index
        cross join lateral (
            select p_lost and (t.session_id in (select unnest(p_uncounted_session_ids))) is not true as is_lost
        ) as l
        -- (`is true` and `not in` are hashed, whatever the number of tasks, and make nothing look rare.)
        where (t.session_id in (select unnest(p_session_ids))) is true
          -- A lease that came in since is of a run that is not locked here: the next sweep or comparison finds it.
          and (t.run_id in (select unnest(v_run_ids))) is true
          and (t.run_id, t.step_index, t.task_index, t.lease_seq) not in (
              select k.run_id, k.step_index, k.task_index, k.lease_seq
              from unnest(p_kept_run_ids, p_kept_step_indexes, p_kept_task_indexes, p_kept_lease_seqs)
                  as k (run_id, step_index, task_index, lease_seq)
          )
        order by t.run_id, t.step_index, t.task_index
        for no key update of t
    ),
    booked as (
        insert into pgflow.task_errors (
            run_id, step_index, task_index, lease_seq, attempt, code, message, worker_id, started_at, failed_at
        )
        select run_id, step_index, task_index, lease_seq, failures + 1, 'LEASE_LOST',
               'the worker vanished: its stream broke and was not resumed in time', worker_id, started_at, v_now
        from taken where is_lost
        on conflict do nothing
    ),
    failed as (
        update pgflow.step_tasks as t
        set status = 'failed', lost_leases = t.lost_leases + 1, session_id = null, completed_at = v_now
        from taken
        where taken.is_final and t.run_id = taken.run_id and t.step_index = taken.step_index
          and t.task_index = taken.task_index
    )
    select count(*)::int as taken_count,
           array_agg(run_id) filter (where not is_final) as run_ids,
           array_agg(step_index) filter (where not is_final) as step_indexes,
           array_agg(task_index) filter (where not is_final) as task_indexes,
           array_agg(delay_s::float8) filter (where not is_final) as delays_s,
           array_agg(0) filter (where not is_final) as zeros,
           array_agg(is_lost::int) filter (where not is_final) as losses,
           array_agg(run_id) filter (where is_final) as final_run_ids,
           array_agg(step_index) filter (where is_final) as final_step_indexes,
           array_agg(task_index) filter (where is_final) as final_task_indexes
    into v_task from taken;

    if v_task.run_ids is not null then
        perform pgflow.requeue_tasks(v_task.run_ids, v_task.step_indexes, v_task.task_indexes, v_task.delays_s,
                                     v_task.zeros, v_task.losses, v_task.zeros, true);
    end if;
    if v_task.final_run_ids is not null then
        perform pgflow.fail_runs(
            v_task.final_run_ids, v_task.final_step_indexes, v_task.final_task_indexes,
            array_fill('LEASE_LOST'::text, array[cardinality(v_task.final_run_ids)]),
            array_fill(format('%s workers vanished while they had this task; find out whether it kills them',
                              p_max_lost_leases + 1), array[cardinality(v_task.final_run_ids)]));
    end if;
    -- Forgets what is held no more: a session that has ended and has nothing left in its account needs no sweep.
    perform pgflow.leases_of_sessions(p_session_ids);
    return v_task.taken_count;
end
$$;
