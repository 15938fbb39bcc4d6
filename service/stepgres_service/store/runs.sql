-- commit_without_waiting --
-- For a transaction whose loss in a crash of the server is noticed and made good.
set local synchronous_commit = off

-- define_plans --
-- Stores inline plans; see 1126_fn_define_plans.sql.
select from pgflow.define_plans(%s::text[], %s::text[]::json[])

-- start_runs --
-- Starts a batch of runs; see 1240_fn_start_runs.sql.
select s.run_id, s.verdict, s.detail, s.version, s.status, s.ready_routes
from pgflow.start_runs(
    %s::text[], %s::int[], %s, %s::text[], %s::text[], %s::bytea[], %s::uuid[], %s::text[],
    p_max_items => %s, p_max_input_bytes => %s
) as s
order by s.item

-- cancel_runs --
-- Cancels a run; see 1350_fn_cancel_runs.sql. No row: unknown.
select c.cancelled from pgflow.cancel_runs(array[%s::uuid], %s) as c

-- retry_runs --
-- Retries a run; see 1355_fn_retry_runs.sql. No row: unknown.
select t.verdict, t.ready_routes
from pgflow.retry_runs(array[%s::uuid], p_max_items => %s, p_max_input_bytes => %s) as t

-- read_runs --
-- Runs without steps and payloads.
select r.run_id, v.workflow_slug, v.version, r.status, r.revision, r.step_count, r.remaining_steps, r.started_at,
       r.completed_at, r.scope, r.idempotency_key, e.step_slug as error_step, r.error_task_index, r.error_attempt,
       r.error_code, r.error_message, null as input, null as output
from pgflow.runs as r
join pgflow.workflow_versions as v on v.version_id = r.version_id
left join pgflow.workflow_steps as e on e.version_id = r.version_id and e.step_index = r.error_step_index
where r.run_id = any(%s)

-- get_run --
-- A run with its steps: a row for each step, or one row without a step. The payloads of the run stand in the first row.
-- Its input and output are built when they fit into max_bytes together, the outputs of the steps when everything fits
-- into max_step_bytes.
with run as materialized (
    select r.*, v.workflow_slug, v.version, e.step_slug as error_step
    from pgflow.runs as r
    join pgflow.workflow_versions as v on v.version_id = r.version_id
    left join pgflow.workflow_steps as e on e.version_id = r.version_id and e.step_index = r.error_step_index
    where r.run_id = %(run_id)s
),
state as materialized (
    select s.*, d.step_slug, d.step_type, d.handler,
           not exists (
               select from pgflow.workflow_step_dependencies_def as e
               where e.version_id = run.version_id and e.dep_index = s.step_index and e.step_index < run.step_count
           ) as is_leaf
    from run
    join pgflow.step_states as s on s.run_id = run.run_id
    join pgflow.workflow_steps as d on d.version_id = run.version_id and d.step_index = s.step_index
),
size as materialized (
    select case when %(full)s then octet_length(run.input::text) else 0 end
           + coalesce((select sum(output_bytes + step_count) from state where is_leaf), 0) as run_bytes,
           coalesce((select sum(output_bytes + coalesce(initial_tasks, 0)) from state), 0) as step_bytes
    from run
)
select run.run_id, run.workflow_slug, run.version, run.status, run.revision, run.step_count, run.remaining_steps,
       run.started_at, run.completed_at, run.scope, run.idempotency_key, run.error_step, run.error_task_index,
       run.error_attempt, run.error_code, run.error_message,
       case when %(full)s and coalesce(s.step_index, 0) = 0 then run.input::text end as input,
       case
           when %(full)s and coalesce(s.step_index, 0) = 0 and run.status = 'completed'
                and size.run_bytes <= %(max_bytes)s then
               '{' || coalesce((
                   select string_agg('"' || leaf.step_slug || '":' || coalesce(leaf.output::text, (
                       select '[' || string_agg(t.output::text, ',' order by t.task_index) || ']'
                       from pgflow.step_tasks as t where t.run_id = leaf.run_id and t.step_index = leaf.step_index
                   )), ',' order by leaf.step_index)
                   from state as leaf where leaf.is_leaf
               ), '') || '}'
       end as output,
       size.run_bytes,
       s.step_index, s.status as step_status, s.is_map, s.initial_tasks, s.remaining_tasks, s.failed_tasks,
       s.remaining_deps, s.revision as step_revision, s.started_at as step_started_at,
       s.completed_at as step_completed_at, s.step_slug,
       array(
           select e.dep_slug from pgflow.workflow_step_dependencies_def as e
           where e.version_id = run.version_id and e.step_index = s.step_index order by e.dep_index
       ) as depends_on,
       case
           when s.status = 'completed' and size.run_bytes + size.step_bytes <= %(max_step_bytes)s then
               coalesce(s.output::text, (
                   select '[' || string_agg(t.output::text, ',' order by t.task_index) || ']'
                   from pgflow.step_tasks as t where t.run_id = s.run_id and t.step_index = s.step_index
               ))
       end as step_output,
       s.status = 'started' and s.remaining_tasks > 0 and not exists (
           select from pgflow.session_handlers as h
           join pgflow.sessions as live on live.session_id = h.session_id
           where h.scope = run.scope and h.handler = s.handler and live.closed_at is null
             and live.lease_until > (select pgflow.now())
       ) as unserved
from run
cross join size
left join state as s on true
order by s.step_index

-- changed_runs --
-- Watched runs whose revision is another than the one known, each with the steps that changed since: a row for each
-- step, or one row without a step. It is lower when the database was set back. A run that is gone with its flow gives a
-- row of nulls.
select w.run_id as watched_run_id, r.run_id, r.status, r.revision, r.step_count, r.remaining_steps, r.started_at,
       r.completed_at, e.step_slug as error_step, r.error_task_index, r.error_attempt, r.error_code, r.error_message,
       s.step_index, s.status as step_status, s.is_map, s.initial_tasks, s.remaining_tasks, s.failed_tasks,
       s.remaining_deps, s.revision as step_revision, s.started_at as step_started_at,
       s.completed_at as step_completed_at
from unnest(%(run_ids)s::uuid[], %(revisions)s::bigint[]) as w (run_id, known)
left join (pgflow.runs as r join pgflow.workflow_versions as v on v.version_id = r.version_id) on r.run_id = w.run_id
left join pgflow.step_states as s on s.run_id = r.run_id and s.revision > w.known
left join pgflow.workflow_steps as e on e.version_id = r.version_id and e.step_index = r.error_step_index
where r.run_id is null or r.revision <> w.known

-- find_versions --
-- What a flow, and one of its versions, are called in the runs: their numbers make better plans than their names.
select w.workflow_id, v.version_id
from pgflow.workflows as w
left join pgflow.workflow_versions as v on v.workflow_slug = w.workflow_slug and v.version = %s
where w.workflow_slug = %s

-- list_runs --
-- A page of runs, newest first; page_count tells whether there is more. With payloads a page ends where max_bytes do.
with page as materialized (
    select r.*
    from pgflow.runs as r
    where (%(workflow_id)s::int is null or r.workflow_id = %(workflow_id)s)
      and (%(version_id)s::int is null or r.version_id = %(version_id)s)
      -- Runs of deleted flows are waiting to be pruned.
      and (select v.version from pgflow.workflow_versions as v where v.version_id = r.version_id) is not null
      and (%(status)s::text is null or r.status = %(status)s)
      -- So that the few active, failed and cancelled runs are found by their indexes in a long history.
      and (%(status)s::text is distinct from 'started' or r.completed_at is null)
      and (%(status)s::text is null or %(status)s not in ('failed', 'cancelled') or r.error_code is not null)
      and (%(start_min)s::timestamptz is null or r.started_at >= %(start_min)s)
      and (%(start_max)s::timestamptz is null or r.started_at < %(start_max)s)
      and (%(after)s::uuid is null or r.run_id < %(after)s)
    order by r.run_id desc
    limit %(limit)s + 1
),
weighed as materialized (
    select page.*, row_number() over newest as position, count(*) over () as page_count,
           own.bytes, sum(own.bytes) over newest as page_bytes
    from page
    cross join lateral (
        select case when %(full)s then octet_length(page.input::text) + coalesce((
            select sum(s.output_bytes + page.step_count) from pgflow.step_states as s
            where s.run_id = page.run_id and not exists (
                select from pgflow.workflow_step_dependencies_def as e
                where e.version_id = page.version_id and e.dep_index = s.step_index
                  and e.step_index < page.step_count)
        ), 0) else 0 end as bytes
    ) as own
    window newest as (order by page.run_id desc)
)
select r.run_id, v.workflow_slug, v.version, r.status, r.revision, r.step_count, r.remaining_steps, r.started_at,
       r.completed_at, r.scope, r.idempotency_key,
       (select e.step_slug from pgflow.workflow_steps as e
        where e.version_id = r.version_id and e.step_index = r.error_step_index) as error_step, r.error_task_index, r.error_attempt,
       r.error_code, r.error_message,
       case when %(full)s then r.input::text end as input,
       case
           when %(full)s and r.status = 'completed' and r.bytes <= %(max_bytes)s then
               '{' || coalesce((
                   select string_agg('"' || d.step_slug || '":' || coalesce(s.output::text, (
                       select '[' || string_agg(t.output::text, ',' order by t.task_index) || ']'
                       from pgflow.step_tasks as t where t.run_id = s.run_id and t.step_index = s.step_index
                   )), ',' order by s.step_index)
                   from pgflow.step_states as s
                   join pgflow.workflow_steps as d on d.version_id = r.version_id and d.step_index = s.step_index
                   where s.run_id = r.run_id and not exists (
                       select from pgflow.workflow_step_dependencies_def as e
                       where e.version_id = r.version_id and e.dep_index = s.step_index
                         and e.step_index < r.step_count)
               ), '') || '}'
       end as output,
       r.page_count
from weighed as r
cross join lateral (
    select workflow_slug, version from pgflow.workflow_versions where version_id = r.version_id offset 0
) as v
where r.position <= %(limit)s and (r.position = 1 or r.page_bytes <= %(max_bytes)s)
order by r.run_id desc
