-- Writes down every recording of a result, and every change of one: what the tables themselves show only the last of.
create schema chaos;

create table chaos.recordings (
    run_id uuid not null,
    step_index smallint not null,
    task_index int not null,
    lease_seq int not null
);

create table chaos.replacements (
    run_id uuid not null,
    step_index smallint not null,
    task_index int,
    was text,
    became text
);

create function chaos.note_recording() returns trigger
language plpgsql
as $$
begin
    insert into chaos.recordings values (new.run_id, new.step_index, new.task_index, new.lease_seq);
    return null;
end
$$;

create function chaos.note_replacement() returns trigger
language plpgsql
as $$
begin
    insert into chaos.replacements
    values (new.run_id, new.step_index, (to_jsonb(new) ->> 'task_index')::int, old.output::text, new.output::text);
    return null;
end
$$;

create trigger note_recording after update of status on pgflow.step_tasks
for each row when (new.status = 'completed')
execute function chaos.note_recording();

create trigger note_replacement after update on pgflow.step_tasks
for each row when (old.output is not null and new.output::text is distinct from old.output::text)
execute function chaos.note_replacement();

create trigger note_replacement after update on pgflow.step_states
for each row when (old.output is not null and new.output::text is distinct from old.output::text)
execute function chaos.note_replacement();
