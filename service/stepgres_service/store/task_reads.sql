-- find_step --
-- A run and the index of one of its steps: no row = no such run, null = no such step.
select d.step_index
from pgflow.runs as r
join pgflow.workflow_versions as v on v.version_id = r.version_id
left join pgflow.workflow_steps as d
    on d.version_id = r.version_id and d.step_slug = %(step)s and d.step_index < r.step_count
where r.run_id = %(run_id)s

-- run_steps --
-- Slugs of a run's steps.
select d.step_slug
from pgflow.runs as r
join pgflow.workflow_steps as d on d.version_id = r.version_id and d.step_index < r.step_count
where r.run_id = %(run_id)s
order by d.step_index

-- list_tasks --
-- A page of a run's tasks by step and index; page_count tells whether there is more. With payloads a page ends where
-- max_bytes do. Inputs are assembled as lease_tasks does: joined as text, never parsed.
with page as materialized (
    select t.*
    from pgflow.step_tasks as t
    where t.run_id = %(run_id)s
      and (%(step_index)s::smallint is null or t.step_index = %(step_index)s)
      and (%(task_index)s::int is null or t.task_index = %(task_index)s)
      and (%(status)s::text is null or t.status = %(status)s)
      and (t.step_index, t.task_index) > (%(after_step)s::smallint, %(after_task)s::int)
    order by t.step_index, t.task_index
    limit %(limit)s + 1
),
weighed as materialized (
    select page.*, s.output as step_output, row_number() over in_order as position, count(*) over () as page_count,
           sum(case
               when not %(full)s then 0
               when page.item is null then s.input_bytes + s.output_bytes
               else octet_length(page.item::text) + coalesce(octet_length(page.output::text), 0)
           end) over in_order as page_bytes
    from page
    join pgflow.step_states as s on s.run_id = page.run_id and s.step_index = page.step_index
    window in_order as (order by page.step_index, page.task_index)
)
select t.run_id, d.step_slug, t.step_index, t.task_index, t.status,
       case when t.status = 'failed' then greatest(t.failures, 1) else t.failures + 1 end as attempt, t.lost_leases,
       coalesce(w.worker_name, '') as worker, t.queued_at, t.started_at, t.completed_at, t.available_at,
       coalesce(p.fraction, 0) as progress, coalesce(p.message, '') as progress_message,
       case
           when not %(full)s then null
           when t.item is not null then '{"item":' || t.item::text || ',"index":' || t.task_index || '}'
           else '{"run":' || r.input::text || coalesce((
               select string_agg(',"' || e.dep_slug || '":' || coalesce(s.output::text, (
                   select '[' || string_agg(o.output::text, ',' order by o.task_index) || ']'
                   from pgflow.step_tasks as o where o.run_id = s.run_id and o.step_index = s.step_index
               )), '')
               from pgflow.workflow_step_dependencies_def as e
               join pgflow.step_states as s on s.run_id = r.run_id and s.step_index = e.dep_index
               where e.version_id = r.version_id and e.step_index = t.step_index
           ), '') || '}'
       end as input,
       case
           when not %(full)s or t.status <> 'completed' then null
           when t.item is not null then t.output::text
           else t.step_output::text
       end as output,
       t.page_count
from weighed as t
join pgflow.runs as r on r.run_id = t.run_id
join pgflow.workflow_steps as d on d.version_id = r.version_id and d.step_index = t.step_index
left join pgflow.workers as w on w.worker_id = t.worker_id
left join pgflow.task_progress as p
    on p.run_id = t.run_id and p.step_index = t.step_index and p.task_index = t.task_index
       -- An earlier attempt's is not this one's.
       and p.reported_at >= t.started_at and t.status <> 'queued'
where t.position <= %(limit)s and (t.position = 1 or t.page_bytes <= %(max_bytes)s)
order by t.step_index, t.task_index

-- list_attempts --
-- The tries of a task that ended, oldest first: its failures and lost leases, and the one that completed. Texts beyond
-- 2 MiB, counted from the newest, are cut short: a thousand tracebacks would not fit into a message.
select attempt, code,
       case when bytes <= 2097152 then message else left(message, 200) end as message,
       case when bytes <= 2097152 then details else '' end as details,
       coalesce(w.worker_name, '') as worker, tries.started_at, tries.ended_at
from (
    select e.lease_seq, e.attempt, e.code, e.message, e.details, e.worker_id, e.started_at, e.failed_at as ended_at,
           sum(octet_length(e.message) + octet_length(e.details)) over (order by e.lease_seq desc) as bytes
    from pgflow.task_errors as e
    where e.run_id = %(run_id)s and e.step_index = %(step_index)s and e.task_index = %(task_index)s
    union all
    select t.lease_seq, t.failures + 1, '', '', '', t.worker_id, t.started_at, t.completed_at, 0
    from pgflow.step_tasks as t
    where t.run_id = %(run_id)s and t.step_index = %(step_index)s and t.task_index = %(task_index)s
      and t.status = 'completed'
) as tries
left join pgflow.workers as w on w.worker_id = tries.worker_id
order by tries.lease_seq
