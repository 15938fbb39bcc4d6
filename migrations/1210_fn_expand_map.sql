-- Writes the task rows of one map step from its next unwritten item on, at most p_limit of them, and sends as many
-- as the window of 1,000 outstanding messages allows.
--   map step: expanded_count -> min(expanded_count + p_limit, initial_tasks). Returns true when all are written.
--   The items come from the run input, from a single step's output, or from the outputs of a map's tasks; each is
--   copied as text, so it arrives byte for byte. Caller holds the run's lock and has checked that the step is started.
create or replace function pgflow.expand_map(p_run_id uuid, p_step_index smallint, p_limit int) returns boolean
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    c_window constant int := 1000;
    v_now constant timestamptz := pgflow.now();
    v_from int;
    v_to int;
    v_next int;
    v_total int;
    v_route_id int;
    v_source json;
    v_dep_index smallint;
    v_dep_is_map boolean;
begin
    select s.expanded_count, least(s.expanded_count + p_limit, s.initial_tasks), s.next_index, s.initial_tasks,
           s.route_id, e.dep_index, d.is_map, case when e.dep_index is null then r.input else d.output end
    into v_from, v_to, v_next, v_total, v_route_id, v_dep_index, v_dep_is_map, v_source
    from pgflow.runs as r
    join pgflow.step_states as s on s.run_id = r.run_id and s.step_index = p_step_index
    left join pgflow.workflow_step_dependencies_def as e
        on e.version_id = r.version_id and e.step_index = s.step_index
    left join pgflow.step_states as d on d.run_id = r.run_id and d.step_index = e.dep_index
    where r.run_id = p_run_id;

    if v_dep_is_map then
        insert into pgflow.step_tasks (run_id, step_index, task_index, item, queued_at)
        select p_run_id, p_step_index, t.task_index, t.output, v_now
        from pgflow.step_tasks as t
        where t.run_id = p_run_id and t.step_index = v_dep_index
          and t.task_index >= v_from and t.task_index < v_to
        order by t.task_index;
    else
        insert into pgflow.step_tasks (run_id, step_index, task_index, item, queued_at)
        select p_run_id, p_step_index, (e.position - 1)::int, e.item, v_now
        from json_array_elements(v_source) with ordinality as e (item, position)
        where e.position > v_from and e.position <= v_to;
    end if;

    update pgflow.step_states as s
    set expanded_count = v_to,
        next_index = greatest(s.next_index, least(v_to, s.initial_tasks - s.remaining_tasks + c_window))
    where s.run_id = p_run_id and s.step_index = p_step_index
    returning s.next_index into v_to;

    perform pgflow.enqueue_tasks(
        array_fill(p_run_id, array[v_to - v_next]),
        array_fill(p_step_index, array[v_to - v_next]),
        array(select generate_series(v_next, v_to - 1)),
        array_fill(v_route_id, array[v_to - v_next])
    ) where v_to > v_next;

    return v_from + p_limit >= v_total;
end
$$;
