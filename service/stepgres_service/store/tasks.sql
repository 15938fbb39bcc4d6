-- record_results --
-- Records a batch of results; see 1340_fn_record_results.sql.
select r.verdicts, r.ready_routes, r.ended_run_ids::text[], r.ended_version_ids, r.ended_statuses, r.ended_durations_s
from pgflow.record_results(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    p_max_output_bytes => %s, p_max_input_bytes => %s, p_max_items => %s, p_lock_timeout_ms => %s
) as r

-- lease_tasks --
-- Hands out tasks; see 1300_fn_lease_tasks.sql.
select t.session_item, t.run_id::text, uuid_send(t.run_id), t.step_index, t.task_index, t.lease_seq, t.attempt,
       t.version_id, t.scope, t.traceparent, convert_to(t.input, 'UTF8')
from pgflow.lease_tasks(%s, %s, %s, %s, %s, p_commit_soon => %s) as t

-- look_briefly --
-- This transaction waits so many milliseconds for a lock, and for no disk; it reads along indexes.
select set_config('lock_timeout', %s, true), set_config('synchronous_commit', 'off', true),
       set_config('enable_seqscan', 'off', true)

-- locked_runs --
-- Those of some runs that somebody has locked, and by which transaction; the others are locked for this moment.
with free as materialized (
    select run_id from pgflow.runs where run_id = any(%(run_ids)s::uuid[]) for no key update skip locked
)
select uuid_send(run_id), xmax::text::bigint
from pgflow.runs
where run_id = any(%(run_ids)s::uuid[]) and run_id not in (select run_id from free)

-- run_input_of_lease --
-- The input of the run that a held lease belongs to.
select convert_to(r.input::text, 'UTF8')
from pgflow.step_tasks as t
join pgflow.runs as r on r.run_id = t.run_id
where t.run_id = %s and t.step_index = %s and t.task_index = %s
  and t.lease_seq = %s and t.session_id = %s and t.status = 'started'

-- routes --
-- What the numbers in messages mean.
select route_id, scope, handler from pgflow.routes where route_id = any(%s)

-- ready_routes --
-- The routes that have a message now, and the first of each.
select route_id, first_message_id from pgflow.ready_routes()

-- promote_tasks --
-- Sends retries that are due; returns how many and when the next one is.
select promoted, next_due_ms from pgflow.promote_tasks()

-- expand_maps --
-- Writes the next chunk of a large map; true when there was one.
select pgflow.expand_maps()

-- record_progress --
-- Keeps what handlers last reported.
select pgflow.record_progress(
    %s::uuid[], %s::smallint[], %s::int[], %s::int[], %s::uuid[], %s::real[], %s::text[]
)

-- judge_json --
-- PostgreSQL's own word on whether a text is JSON.
select %s::text::json is not null
