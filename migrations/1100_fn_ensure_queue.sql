-- Finds or makes a queue; returns its id.
--   p_queue_name: null makes a queue for one flow alone; a name gives the shared queue of that name, made at first use.
--   Race-safe: of concurrent callers with one name, one makes the queue and the others wait for it.
create or replace function pgflow.ensure_queue(p_queue_name text) returns int
language plpgsql
as $$
declare
    v_queue_id int;
    v_table text;
begin
    if p_queue_name is not null then
        select queue_id into v_queue_id from pgflow.queues where queue_name = p_queue_name;
        if found then
            return v_queue_id;
        end if;
    end if;
    insert into pgflow.queues (queue_name) values (p_queue_name)
    on conflict (queue_name) do nothing
    returning queue_id into v_queue_id;
    if v_queue_id is null then
        select queue_id into strict v_queue_id from pgflow.queues where queue_name = p_queue_name;
        return v_queue_id;
    end if;

    perform pgmq.create('pgflow_' || v_queue_id);
    v_table := 'q_pgflow_' || v_queue_id;
    -- The lease reads along this index; whatever stands in front of a route in the queue costs it nothing.
    execute format('create index %I on pgmq.%I (((message->>''k'')::int), msg_id)', v_table || '_by_route', v_table);
    -- For pgmq.read, which nothing here calls: no message is ever invisible. It would be a third of the index entries.
    execute format('drop index if exists pgmq.%I', v_table || '_vt_idx');
    -- Every message is a dead row within seconds.
    execute format(
        'alter table pgmq.%I set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,'
        ' autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_scale_factor = 0,'
        ' autovacuum_vacuum_insert_threshold = 100000)', v_table);
    perform pgflow.define_queue_functions(v_queue_id);
    return v_queue_id;
end
$$;
