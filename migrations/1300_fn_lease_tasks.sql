-- Hands runnable tasks of some routes to some sessions.
--   task: queued -> started for a session, lease_seq + 1; its message is deleted in the same transaction.
--   p_route_ids: in the order of preference; rotate it from call to call, the first may take everything.
--   The session arrays run side by side: p_credits is how many tasks each session may get; one that has ended, or is
--   unknown, gets none.
--   p_commit_soon: this transaction commits without waiting for the disk: a lease that a crash undoes was never seen by
--   anybody for long.
--   session_item: position of the session. input: assembled JSON text; payloads are joined as text, never parsed.
--   Locks: queue row and task row, both SKIP LOCKED: the lease waits for nothing, so it may stand anywhere in a
--   transaction without a deadlock. A message whose task is not queued any more is dropped.
--   Raises 42P01 when a queue is dropped with its flow at this very moment: call again.
create or replace function pgflow.lease_tasks(
    p_route_ids int[], p_session_ids uuid[], p_worker_ids int[], p_credits int[], p_commit_soon boolean default false
) returns table (
    session_item int, run_id uuid, step_index smallint, task_index int, lease_seq int, attempt int, version_id int,
    route_id int, scope text, traceparent text, input text
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := pgflow.now();
    v_limit int;
    v_queue record;
    v_found record;
    v_queue_ids int[] := '{}';
    v_message_ids bigint[] := '{}';
    v_run_ids uuid[] := '{}';
    v_step_indexes smallint[] := '{}';
    v_task_indexes int[] := '{}';
    v_route_ids int[] := '{}';
    v_slots int[];
    v_leased record;
begin
    if p_commit_soon then
        perform set_config('synchronous_commit', 'off', true);
    end if;

    -- A coordinator that was away for long may still believe in a session that is over and forgotten: no sweep would
    -- ever find what it got. A session that ends at this very moment is remembered, and the sweep finds its tasks.
    select coalesce(sum(u.credits) filter (where s.session_id is not null), 0),
           array_agg(case when s.session_id is not null then u.credits else 0 end order by u.item)
    into v_limit, p_credits
    from unnest(p_session_ids, p_credits) with ordinality as u (session_id, credits, item)
    left join pgflow.sessions as s on s.session_id = u.session_id and s.closed_at is null;
    if v_limit = 0 then
        return;
    end if;

    for v_queue in
        select r.queue_id, array_agg(r.route_id order by u.item) as route_ids
        from unnest(p_route_ids) with ordinality as u (route_id, item)
        join pgflow.routes as r on r.route_id = u.route_id
        group by r.queue_id order by min(u.item)
    loop
        exit when cardinality(v_message_ids) >= v_limit;
        -- Ordered by the index's own columns, so that no other index can serve it however the table's statistics look.
        -- The route is a range of one: an equality would make the first column redundant, and the key could serve.
        execute format(
            'select array_agg(m.route_id) as route_ids, array_agg(m.msg_id) as message_ids,'
            '       array_agg((m.message->>''r'')::uuid) as run_ids,'
            '       array_agg((m.message->>''s'')::smallint) as step_indexes,'
            '       array_agg((m.message->>''i'')::int) as task_indexes'
            ' from ('
            '   select k.route_id, q.msg_id, q.message from unnest($1) as k (route_id) cross join lateral ('
            '     select q.msg_id, q.message from pgmq.q_pgflow_%s as q'
            '     where (q.message->>''k'')::int between k.route_id and k.route_id'
            '     order by (q.message->>''k'')::int, q.msg_id limit $2 for update skip locked'
            '   ) as q limit $2'
            ' ) as m', v_queue.queue_id)
        into v_found
        using v_queue.route_ids, v_limit - cardinality(v_message_ids);
        continue when v_found.message_ids is null;
        v_queue_ids := v_queue_ids || array_fill(v_queue.queue_id, array[cardinality(v_found.message_ids)]);
        v_route_ids := v_route_ids || v_found.route_ids;
        v_message_ids := v_message_ids || v_found.message_ids;
        v_run_ids := v_run_ids || v_found.run_ids;
        v_step_indexes := v_step_indexes || v_found.step_indexes;
        v_task_indexes := v_task_indexes || v_found.task_indexes;
    end loop;
    if cardinality(v_message_ids) = 0 then
        return;
    end if;

    -- One slot for each task found, dealt out to the sessions in turn, none beyond its credits.
    v_slots := array(
        select u.item
        from unnest(p_credits) with ordinality as u (credits, item)
        cross join lateral generate_series(1, least(u.credits, cardinality(v_message_ids))) as turn
        order by turn, u.item
        limit cardinality(v_message_ids)
    );

    with locked as materialized (
        select u.item, u.queue_id, u.message_id, u.route_id, t.run_id, t.step_index, t.task_index, t.status
        from unnest(v_queue_ids, v_message_ids, v_route_ids, v_run_ids, v_step_indexes, v_task_indexes)
            with ordinality as u (queue_id, message_id, route_id, run_id, step_index, task_index, item)
        join pgflow.step_tasks as t
            on t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
        for no key update of t skip locked
    ),
    runnable as materialized (
        select l.*, row_number() over (order by item) as position from locked as l where status = 'queued'
    ),
    leased as (
        update pgflow.step_tasks as t
        set status = 'started', lease_seq = t.lease_seq + 1, session_id = p_session_ids[v_slots[r.position]],
            worker_id = p_worker_ids[v_slots[r.position]], message_id = null, started_at = v_now
        from runnable as r
        where t.run_id = r.run_id and t.step_index = r.step_index and t.task_index = r.task_index
        returning v_slots[r.position] as session_item, r.route_id, t.run_id, t.step_index, t.task_index, t.lease_seq,
                  t.failures + 1 as attempt, t.item
    ),
    deleted as (
        select pgmq.delete('pgflow_' || locked.queue_id, array_agg(locked.message_id))
        from locked group by locked.queue_id
    )
    select (select count(*) from deleted) as deleted_count, (select count(*) from locked) as locked_count,
           array_agg(session_item) as session_items, array_agg(route_id) as route_ids, array_agg(run_id) as run_ids,
           array_agg(step_index) as step_indexes, array_agg(task_index) as task_indexes,
           array_agg(lease_seq) as lease_seqs, array_agg(attempt) as attempts, array_agg(item::text) as items
    into v_leased from leased;

    if v_leased.locked_count < cardinality(v_message_ids) then
        -- Some rows were locked by others, or are gone with their run: the messages of the latter go too.
        perform pgmq.delete('pgflow_' || u.queue_id, array_agg(u.message_id))
        from unnest(v_queue_ids, v_message_ids, v_run_ids, v_step_indexes, v_task_indexes)
            as u (queue_id, message_id, run_id, step_index, task_index)
        where not exists (
            select from pgflow.step_tasks as t
            where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
        )
        group by u.queue_id;
    end if;

    return query
    select u.session_item::int, u.run_id, u.step_index, u.task_index, u.lease_seq, u.attempt, r.version_id, u.route_id,
           r.scope, r.traceparent,
           case
               when u.item is not null then '{"item":' || u.item || ',"index":' || u.task_index || '}'
               else '{"run":' || r.input::text || coalesce((
                   select string_agg(',"' || e.dep_slug || '":' || coalesce(d.output::text, (
                       select '[' || string_agg(o.output::text, ',' order by o.task_index) || ']'
                       from pgflow.step_tasks as o where o.run_id = d.run_id and o.step_index = d.step_index
                   )), '')
                   from pgflow.workflow_step_dependencies_def as e
                   join pgflow.step_states as d on d.run_id = r.run_id and d.step_index = e.dep_index
                   where e.version_id = r.version_id and e.step_index = u.step_index
               ), '') || '}'
           end
    from unnest(v_leased.session_items, v_leased.route_ids, v_leased.run_ids, v_leased.step_indexes,
                v_leased.task_indexes, v_leased.lease_seqs, v_leased.attempts, v_leased.items)
        as u (session_item, route_id, run_id, step_index, task_index, lease_seq, attempt, item)
    join pgflow.runs as r on r.run_id = u.run_id;
end
$$;
