-- Lists the leases that sessions hold by the database's account; a coordinator compares it with its memory.
--   lease batches: those of which no more than half is held are written anew, or go. So the account stays as small as
--   what is held and what was handed out since the last call, and a long task costs nothing more.
--   Waits for nothing: batches that another call is at stay as they are.
create or replace function pgflow.leases_of_sessions(p_session_ids uuid[])
returns table (session_id uuid, run_id uuid, step_index smallint, task_index int, lease_seq int)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
    return query
    -- Each batch with what is held of it, so that nothing below joins: batches may be many, and small.
    with held as materialized (
        select b.session_id, b.batch_id, cardinality(b.run_ids) as entry_count, h.*
        from pgflow.lease_batches as b
        cross join lateral (
            select array_agg(e.run_id) as run_ids, array_agg(e.step_index) as step_indexes,
                   array_agg(e.task_index) as task_indexes, array_agg(t.lease_seq) as lease_seqs
            from (
                select unnest(b.run_ids) as run_id, unnest(b.step_indexes) as step_index,
                       unnest(b.task_indexes) as task_index
            ) as e
            -- (`offset 0`: see count_leases.)
            cross join lateral (
                select t.session_id, t.lease_seq from pgflow.step_tasks as t
                where t.run_id = e.run_id and t.step_index = e.step_index and t.task_index = e.task_index offset 0
            ) as t
            where t.session_id is not distinct from b.session_id
        ) as h
        where b.session_id = any(p_session_ids)
    ),
    thin as materialized (
        select h.session_id, h.run_ids, h.step_indexes, h.task_indexes, b.place
        from held as h
        -- (A subquery that locks is entered once for each, by all of the key.)
        cross join lateral (
            select b.ctid as place from pgflow.lease_batches as b
            where b.session_id = h.session_id and b.batch_id = h.batch_id
            for update skip locked
        ) as b
        where h.entry_count >= 2 * coalesce(cardinality(h.run_ids), 0)
    ),
    deleted as (
        -- Batches are never updated, so a locked one stays in its place.
        delete from pgflow.lease_batches where ctid = any(array(select place from thin))
    ),
    rewritten as (
        insert into pgflow.lease_batches (session_id, run_ids, step_indexes, task_indexes)
        select u.session_id, array_agg(u.run_id), array_agg(u.step_index), array_agg(u.task_index)
        from (
            select session_id, unnest(run_ids) as run_id, unnest(step_indexes) as step_index,
                   unnest(task_indexes) as task_index
            from thin
        ) as u
        group by u.session_id
    )
    -- Once, though a task may have come to the session again.
    select distinct u.*
    from (
        select h.session_id, unnest(h.run_ids) as run_id, unnest(h.step_indexes) as step_index,
               unnest(h.task_indexes) as task_index, unnest(h.lease_seqs) as lease_seq
        from held as h
    ) as u;
end
$$;
