-- Writes take_<id> and send_<id>, the functions of a queue around take_statement and send_statement.
--   Where the table's name is a parameter, as it is of pgmq's own functions, a statement is planned in each call; that
--   takes as long as handling ten messages. Inside a function of the queue's own the plan is kept. It costs each
--   connection 150 KB for each queue, so only the first hundred queues have them; for others nothing is written.
--   Called for each new queue, and by this file for all that exist.
create or replace function pgflow.define_queue_functions(p_queue_id int) returns void
language plpgsql
as $$
begin
    if pgflow.keeps_plans(p_queue_id) then
        execute format($create$
            create or replace function pgflow.take_%1$s(int[], bigint[], int)
            returns table (route_ids int[], run_ids uuid[], step_indexes smallint[], task_indexes int[])
            language plpgsql as $body$ begin return query %2$s; end $body$;
            create or replace function pgflow.send_%1$s(jsonb[]) returns table (message_ids bigint[])
            language plpgsql as $body$ begin return query %3$s; end $body$;
            $create$, p_queue_id, pgflow.take_statement(p_queue_id), pgflow.send_statement(p_queue_id));
    end if;
end
$$;
do $$ begin perform pgflow.define_queue_functions(queue_id) from pgflow.queues; end $$;
