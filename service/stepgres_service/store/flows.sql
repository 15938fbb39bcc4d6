-- define_flow --
-- Creates a flow with its steps, or finds the version that equals it.
select version_id, created from pgflow.define_flow(%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- lock_flow --
-- Waits for others who change the flow. A statement of its own: one that waits sees the tables as before the wait.
select from pgflow.workflows where workflow_slug = %s for no key update

-- latest_version --
-- The newest version's key, its number, how many steps it has, and whether one of them has that slug.
select v.version_id, v.version,
       (select count(*) from pgflow.workflow_steps as s where s.version_id = v.version_id),
       exists (select from pgflow.workflow_steps as s where s.version_id = v.version_id and s.step_slug = %s)
from pgflow.workflows as w
join pgflow.workflow_versions as v on v.workflow_slug = w.workflow_slug and v.version = w.latest_version
where w.workflow_slug = %s

-- add_step --
-- Appends a step.
select step_index from pgflow.add_step(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- version_of --
-- Key of a version of a flow (0 = the latest), and the latest number; no row = no such flow.
select v.version_id, w.latest_version
from pgflow.workflows as w
left join pgflow.workflow_versions as v
    on v.workflow_slug = w.workflow_slug and v.version = case when %s = 0 then w.latest_version else %s end
where w.workflow_slug = %s

-- versions --
-- Numbers of a flow's versions.
select version from pgflow.workflow_versions where workflow_slug = %s order by version

-- flows_by_version --
-- Versions by key; the queue is the shared one that they are in, whether asked for or by default.
select v.version_id, v.workflow_slug, v.version, w.latest_version, v.max_attempts, v.timeout, v.base_delay_s,
       v.max_delay_s, q.queue_name, v.created_at,
       (select count(*) from pgflow.workflow_steps as s where s.version_id = v.version_id)
from pgflow.workflow_versions as v
join pgflow.workflows as w on w.workflow_slug = v.workflow_slug
join pgflow.queues as q on q.queue_id = v.queue_id
where v.version_id = any(%s)
order by v.workflow_slug

-- steps_by_version --
-- Steps of versions, with the slugs of their dependencies.
select s.version_id, s.step_index, s.step_slug, s.step_type, s.initial_tasks, s.max_attempts, s.timeout,
       s.base_delay_s, s.max_delay_s, s.queue, s.handler, s.params::text, s.created_at,
       array(
           select d.dep_slug from pgflow.workflow_step_dependencies_def as d
           where d.version_id = s.version_id and d.step_index = s.step_index order by d.dep_index
       )
from pgflow.workflow_steps as s
where s.version_id = any(%s)
order by s.version_id, s.step_index

-- list_flows --
-- Keys of the latest versions of flows, a page of them by slug.
select v.version_id
from pgflow.workflows as w
join pgflow.workflow_versions as v on v.workflow_slug = w.workflow_slug and v.version = w.latest_version
where starts_with(w.workflow_slug, %s) and w.workflow_slug > %s and not starts_with(w.workflow_slug, 'plan:')
order by w.workflow_slug
limit %s

-- names_like --
-- Slugs about as long as one that no flow has, those with the same beginning first: one of them may have been meant.
select w.workflow_slug
from pgflow.workflows as w
where not starts_with(w.workflow_slug, 'plan:')
    and length(w.workflow_slug) between length(%(flow)s) - 3 - length(%(flow)s) / 4
        and length(%(flow)s) + 3 + length(%(flow)s) / 4
order by lower(left(w.workflow_slug, 1)) <> lower(left(%(flow)s, 1)), w.workflow_slug
limit 1000

-- list_plans --
-- The same of inline plans.
select v.version_id
from pgflow.workflows as w
join pgflow.workflow_versions as v on v.workflow_slug = w.workflow_slug and v.version = w.latest_version
where starts_with(w.workflow_slug, %s) and w.workflow_slug > %s
  and w.workflow_slug >= 'plan:' and w.workflow_slug < 'plan;'
order by w.workflow_slug
limit %s

-- delete_flow --
-- Deletes a flow; returns how many runs were cancelled.
select pgflow.delete_flow(%s, %s)

-- prune_names --
-- Forgets routes of scopes, and workers, that nothing refers to any more.
select pgflow.prune_names()

-- prune_ended_runs --
-- Deletes rows of runs that ended long enough ago; returns of how many.
select pgflow.prune_ended_runs(%s, %s)

-- prune_plans --
-- Removes inline plans that no run uses; returns how many it looked at.
select pgflow.prune_plans()

-- prune_deleted_runs --
-- Deletes rows of runs whose flow is gone; returns of how many.
select pgflow.prune_deleted_runs(%s)
