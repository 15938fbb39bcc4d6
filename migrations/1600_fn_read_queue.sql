-- Looks at a queue: what waits in it, and which of it no session serves. Reads only.
--   depth is counted up to p_count and estimated beyond; unserved is a JSON array of {scope, handler, task_count} of at
--   most p_names routes, unserved_steps the `<flow>.<step>` of their 100 oldest tasks each. No row: no such queue.
--   Costs a few index probes for each of at most p_routes routes that have a message, and p_count rows.
create or replace function pgflow.read_queue(
    p_queue_id int, p_count int default 10000, p_routes int default 1000, p_names int default 20
) returns table (
    depth bigint, is_estimate boolean, oldest_at timestamptz, unserved_count int, unserved json, unserved_steps text[]
)
language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := pgflow.now();
    v_table constant text := 'pgmq.q_pgflow_' || p_queue_id;
    v_span bigint;
begin
    begin
        execute format('select count(*) from (select from %s order by msg_id limit $1) as first', v_table)
        into depth using p_count + 1;
        is_estimate := depth > p_count;
        if depth = 0 then
            unserved_count := 0;
            unserved := '[]';
            unserved_steps := '{}';
            return next;
            return;
        end if;
        if is_estimate then
            depth := pg_stat_get_live_tuples(v_table::regclass);
            -- Statistics may be missing or late; the numbers of the messages are an upper bound.
            execute format('select max(msg_id) - min(msg_id) + 1 from %s', v_table) into v_span;
            depth := greatest(p_count + 1, least(depth, v_span));
        end if;
        execute format('select enqueued_at from %s order by msg_id limit 1', v_table) into oldest_at;

        -- Hops from key to key along the index: a route, or negative for its tasks that go first (send_tasks). Ranges of
        -- one in the order of that index, as in take_statement: along the key of the table a key that has no message would
        -- read the whole queue.
        execute format(
            'with recursive waiting (key, n) as ('
            '  (select (message->>''k'')::int, 1 from %1$s order by (message->>''k'')::int limit 1)'
            '  union all'
            '  select (select (q.message->>''k'')::int from %1$s as q'
            '          where (q.message->>''k'')::int > waiting.key order by (q.message->>''k'')::int limit 1), n + 1'
            '  from waiting where waiting.key is not null and n < $1'
            '), missing as materialized ('
            '  select r.route_id, r.scope, r.handler, row_number() over (order by r.route_id) as n'
            '  from (select distinct abs(key) as route_id from waiting) as w'
            '  join pgflow.routes as r on r.route_id = w.route_id'
            '  where not exists ('
            '    select from pgflow.session_handlers as h'
            '    join pgflow.sessions as s on s.session_id = h.session_id'
            '    where h.handler = r.handler and h.scope = r.scope and s.closed_at is null and s.lease_until > $3)'
            ') select (select count(*) from missing), coalesce(('
            '  select json_agg(json_build_object(''scope'', m.scope, ''handler'', m.handler, ''task_count'', ('
            '    select count(*) from unnest(array[-m.route_id, m.route_id]) as k (key) cross join lateral ('
            '      select from %1$s as q where (q.message->>''k'')::int between k.key and k.key'
            '      order by (q.message->>''k'')::int, q.msg_id limit 1000'
            '    ) as counted)) order by m.n)'
            '  from missing as m where m.n <= $2'
            '), ''[]''), array('
            '  select distinct (d.workflow_slug || ''.'' || d.step_slug) collate "C" from missing as m'
            '  cross join lateral ('
            '    select (q.message->>''r'')::uuid as run_id, (q.message->>''s'')::smallint as step_index'
            '    from unnest(array[-m.route_id, m.route_id]) as k (key) cross join lateral ('
            '      select q.message from %1$s as q where (q.message->>''k'')::int between k.key and k.key'
            '      order by (q.message->>''k'')::int, q.msg_id limit 100'
            '    ) as q limit 100) as t'
            '  join pgflow.runs as r on r.run_id = t.run_id'
            '  join pgflow.workflow_steps as d on d.version_id = r.version_id and d.step_index = t.step_index'
            '  where m.n <= $2 order by 1 limit 100)', v_table)
        into unserved_count, unserved, unserved_steps using p_routes, p_names, v_now;
    exception when undefined_table then
        return; -- The queue was dropped with its flow since it was listed.
    end;
    return next;
end
$$;
