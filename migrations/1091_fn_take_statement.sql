-- The statement that takes messages from a queue: $1 keys, $2 beside each the first message to look at, $3 a limit.
--   Deletes the first messages of the keys, in the order of the keys, and answers their tasks side by side; nulls for
--   none. Locks queue rows, SKIP LOCKED: what somebody else has in hand is left out.
create or replace function pgflow.take_statement(p_queue_id int) returns text
language sql
immutable
-- Ordered by the index's own columns, and bounded by both at once, so that no other index can serve it however the
-- table's statistics look: for `msg_id >= …` alone, or an equality of the key, the primary key could.
return format($take$
with found as materialized (
    select k.key, q.msg_id, q.message from unnest($1, $2) as k (key, from_id) cross join lateral (
        select q.msg_id, q.message from pgmq.q_pgflow_%1$s as q
        where ((q.message->>'k')::int, q.msg_id) >= (k.key, k.from_id) and (q.message->>'k')::int <= k.key
        order by (q.message->>'k')::int, q.msg_id limit $3 for update skip locked
    ) as q limit $3
),
gone as (delete from pgmq.q_pgflow_%1$s as q where q.msg_id = any(array(select msg_id from found)))
select array_agg(abs(key)) as route_ids, array_agg((message->>'r')::uuid) as run_ids,
       array_agg((message->>'s')::smallint) as step_indexes, array_agg((message->>'i')::int) as task_indexes
from found$take$, p_queue_id);
