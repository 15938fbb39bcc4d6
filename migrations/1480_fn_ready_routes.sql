-- The truth behind the notifications: the routes that have a message now, over the queues of flows with open runs.
--   first_message_id: the lowest of a route; null when all its messages are of tasks that go first (send_tasks).
--   Reads only; costs a few index probes for each such queue, however deep it is, and steps over what was leased before
--   and is not vacuumed yet.
-- squawk-ignore ban-drop-function
drop function if exists pgflow.ready_routes();
create or replace function pgflow.ready_routes() returns table (route_id int, first_message_id bigint)
language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_queue_id int;
begin
    for v_queue_id in
        with recursive active (version_id) as (
            (select version_id from pgflow.runs where completed_at is null order by version_id limit 1)
            union all
            select (
                select r.version_id from pgflow.runs as r
                where r.completed_at is null and r.version_id > active.version_id order by r.version_id limit 1
            )
            from active where active.version_id is not null
        )
        select distinct s.queue_id from active
        join pgflow.workflow_steps as s on s.version_id = active.version_id
    loop
        begin
            -- Hops from route to route along the index; negative ones are of tasks that go first (send_tasks).
            return query execute format(
                'with recursive waiting (key, msg_id) as ('
                '  (select (message->>''k'')::int, msg_id from pgmq.q_pgflow_%1$s'
                '   order by (message->>''k'')::int, msg_id limit 1)'
                '  union all'
                '  select q.key, q.msg_id from waiting cross join lateral ('
                '    select (q.message->>''k'')::int as key, q.msg_id from pgmq.q_pgflow_%1$s as q'
                '    where (q.message->>''k'')::int > waiting.key order by (q.message->>''k'')::int, q.msg_id limit 1'
                '  ) as q'
                ') select abs(key), min(msg_id) filter (where key > 0) from waiting group by abs(key)',
                v_queue_id);
        exception when undefined_table then
            null; -- The queue was dropped with its flow since it was listed.
        end;
    end loop;
end
$$;
