-- Judges a run input for the maps that go over it. Returns null when it fits, else `verdict:facts`, where the facts
-- are for the caller's message: the slug of the map step, then what was found, then what was expected.
create or replace function pgflow.root_map_verdict(p_version_id int, p_input json, p_max_items int) returns text
language plpgsql stable
as $$
declare
    v_type constant text := json_typeof(p_input);
    v_count constant int := case when v_type = 'array' then json_array_length(p_input) end;
begin
    return (
        select case
            when v_type <> 'array' then format('type_violation:%s %s array', step_slug, v_type)
            when initial_tasks <> v_count then
                format('initial_tasks_mismatch:%s %s %s', step_slug, v_count, initial_tasks)
            when v_count > p_max_items then format('too_many_items:%s %s %s', step_slug, v_count, p_max_items)
        end
        from pgflow.workflow_steps
        where version_id = p_version_id and step_type = 'map' and deps_count = 0
          and (v_type <> 'array' or initial_tasks <> v_count or v_count > p_max_items)
        order by step_index
        limit 1
    );
end
$$;
