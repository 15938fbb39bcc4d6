-- The truth behind the notifications: the routes that have a message now, over the queues of flows with open runs.
--   Reads only; costs a few index probes for each such queue, however deep it is.
create or replace function pgflow.ready_routes() returns setof int
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
                'with recursive waiting (route_id) as ('
                '  (select (message->>''k'')::int from pgmq.q_pgflow_%1$s order by (message->>''k'')::int limit 1)'
                '  union all'
                '  select (select (q.message->>''k'')::int from pgmq.q_pgflow_%1$s as q'
                '          where (q.message->>''k'')::int > waiting.route_id order by (q.message->>''k'')::int limit 1)'
                '  from waiting where waiting.route_id is not null'
                ') select distinct abs(route_id) from waiting where route_id is not null', v_queue_id);
        exception when undefined_table then
            null; -- The queue was dropped with its flow since it was listed.
        end;
    end loop;
end
$$;
