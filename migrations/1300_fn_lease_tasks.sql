-- Hands runnable tasks of some routes to some sessions.
--   task: queued -> started for a session, lease_seq + 1; its message is deleted in the same transaction.
--   p_route_ids: in the order of preference; rotate it from call to call, the first may take everything.
--   The session arrays run side by side: p_credits is how many tasks each session may get; one that has ended, or is
--   unknown, gets none.
--   p_from_ids: beside the routes: messages of lower ids are not looked at. For who has seen a moment ago which are the
--   lowest: what went before leaves dead index entries, and stepping over those of a minute takes longer than the lease.
--   What is sent again under its negative route is found in any case. Null: everything is looked at.
--   p_commit_soon: this transaction commits without waiting for the disk: a lease that a crash undoes was never seen by
--   anybody for long.
--   session_item: position of the session. input: assembled JSON text; payloads are joined as text, never parsed.
--   Locks: queue rows, SKIP LOCKED. A message is the right to change its task while that is queued: whoever else wants to
--   end one takes the message first (end_open_work). So the lease waits for no transition and may stand anywhere in a
--   transaction without a deadlock. A message whose task is not queued any more is dropped.
--   Raises 42883 or 42P01 when a queue is dropped with its flow at this very moment: call again. Raises 55P03 when
--   somebody who is no transition keeps a task's row for 1 s.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.lease_tasks(int[], uuid[], int[], int[], boolean);
create or replace function pgflow.lease_tasks(
    p_route_ids int[], p_session_ids uuid[], p_worker_ids int[], p_credits int[], p_from_ids bigint[] default null,
    p_commit_soon boolean default false
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
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := pgflow.now();
    v_limit int;
    v_queue record;
    v_found record;
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
        -- What lost its turn stands under the negative route, and goes first (send_tasks).
        select r.queue_id, array_agg(-r.route_id order by u.item) || array_agg(r.route_id order by u.item) as keys,
               array_agg(0::bigint) || array_agg(coalesce(u.from_id, 0) order by u.item) as from_ids
        from unnest(p_route_ids, p_from_ids) with ordinality as u (route_id, from_id, item)
        join pgflow.routes as r on r.route_id = u.route_id
        group by r.queue_id order by min(u.item)
    loop
        exit when cardinality(v_run_ids) >= v_limit;
        execute case
            when pgflow.keeps_plans(v_queue.queue_id)
            then format('select * from pgflow.take_%s($1, $2, $3)', v_queue.queue_id)
            else pgflow.take_statement(v_queue.queue_id)
        end
        into v_found
        using v_queue.keys, v_queue.from_ids, v_limit - cardinality(v_run_ids);
        continue when v_found.run_ids is null;
        v_route_ids := v_route_ids || v_found.route_ids;
        v_run_ids := v_run_ids || v_found.run_ids;
        v_step_indexes := v_step_indexes || v_found.step_indexes;
        v_task_indexes := v_task_indexes || v_found.task_indexes;
    end loop;
    if cardinality(v_run_ids) = 0 then
        return;
    end if;

    -- One slot for each task found, dealt out to the sessions in turn, none beyond its credits.
    v_slots := array(
        select u.item
        from unnest(p_credits) with ordinality as u (credits, item)
        cross join lateral generate_series(1, least(u.credits, cardinality(v_run_ids))) as turn
        order by turn, u.item
        limit cardinality(v_run_ids)
    );

    with leased as (
        update pgflow.step_tasks as t
        set status = 'started', lease_seq = t.lease_seq + 1, session_id = p_session_ids[v_slots[u.item]],
            worker_id = p_worker_ids[v_slots[u.item]], message_id = null,
            -- What was committed after the clock was read can be leased, too: no attempt begins before the last one ended.
            started_at = greatest(v_now, t.queued_at)
        from (
            select generate_subscripts(v_run_ids, 1) as item, unnest(v_route_ids) as route_id,
                   unnest(v_run_ids) as run_id, unnest(v_step_indexes) as step_index,
                   unnest(v_task_indexes) as task_index
        ) as u
        where t.run_id = u.run_id and t.step_index = u.step_index and t.task_index = u.task_index
          -- (Asked so that no statistics make it look rare: the messages are to lead, not the tasks.)
          and coalesce(t.status = 'queued', false)
        returning v_slots[u.item] as session_item, u.route_id, t.run_id, t.step_index, t.task_index, t.lease_seq,
                  t.failures + 1 as attempt, t.item
    )
    select array_agg(session_item) as session_items, array_agg(route_id) as route_ids, array_agg(run_id) as run_ids,
           array_agg(step_index) as step_indexes, array_agg(task_index) as task_indexes,
           array_agg(lease_seq) as lease_seqs, array_agg(attempt) as attempts, array_agg(item::text) as items
    into v_leased from leased;

    insert into pgflow.lease_batches (session_id, run_ids, step_indexes, task_indexes)
    select p_session_ids[u.session_item], array_agg(u.run_id), array_agg(u.step_index), array_agg(u.task_index)
    from (
        select unnest(v_leased.session_items) as session_item, unnest(v_leased.run_ids) as run_id,
               unnest(v_leased.step_indexes) as step_index, unnest(v_leased.task_indexes) as task_index
    ) as u
    group by u.session_item;

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
    from (
        select unnest(v_leased.session_items) as session_item, unnest(v_leased.route_ids) as route_id,
               unnest(v_leased.run_ids) as run_id, unnest(v_leased.step_indexes) as step_index,
               unnest(v_leased.task_indexes) as task_index, unnest(v_leased.lease_seqs) as lease_seq,
               unnest(v_leased.attempts) as attempt, unnest(v_leased.items) as item
    ) as u
    join pgflow.runs as r on r.run_id = u.run_id;
end
$$;
