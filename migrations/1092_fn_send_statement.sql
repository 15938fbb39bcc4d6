-- The statement that puts $1 messages into a queue; answers their ids in the order of the messages.
create or replace function pgflow.send_statement(p_queue_id int) returns text
language sql
immutable
return format($send$
with sent as (
    insert into pgmq.q_pgflow_%s (vt, message) select clock_timestamp(), unnest($1) returning msg_id
)
select array_agg(msg_id) as message_ids from sent$send$, p_queue_id);
