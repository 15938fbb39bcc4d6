-- list_handlers --
-- A page of the handlers that living sessions serve, by name and scope. The session that connected last describes each.
with page as materialized (
    select h.handler, h.scope, count(*) as session_count,
           (array_agg(h.details_id order by s.connected_at desc, s.session_id))[1] as details_id
    from pgflow.session_handlers as h
    join pgflow.sessions as s on s.session_id = h.session_id
    where starts_with(h.handler, %(prefix)s) and (h.handler, h.scope) > (%(handler)s, %(scope)s)
      and s.closed_at is null and s.lease_until > (select pgflow.now())
    group by h.handler, h.scope
    order by h.handler, h.scope
    limit %(limit)s
)
select page.handler as name, page.scope, d.description, d.params_schema::text as params_schema,
       d.input_schema::text as input_schema, d.output_schema::text as output_schema,
       page.session_count, used.steps, used.step_count
from page
join pgflow.handler_details as d on d.details_id = page.details_id
cross join lateral (
    select count(*) as step_count,
           coalesce((array_agg(u.step order by u.workflow_slug, u.step_slug))[:100], '{}') as steps
    from (
        select s.workflow_slug, s.step_slug, s.workflow_slug || '.' || s.step_slug as step
        from pgflow.workflow_steps as s
        where s.handler = page.handler and s.version = (
            select w.latest_version from pgflow.workflows as w where w.workflow_slug = s.workflow_slug)
        order by s.workflow_slug, s.step_slug
        limit 10000
    ) as u
) as used
order by page.handler, page.scope

-- list_workers --
-- A page of living sessions by the worker's name. Their ids prove who may send results: only a hash leaves the database.
with living as (
    select w.worker_name, encode(sha256(uuid_send(s.session_id)), 'hex') collate "C" as position, s.*
    from pgflow.sessions as s
    join pgflow.workers as w on w.worker_id = s.worker_id
    where s.closed_at is null and s.lease_until > (select pgflow.now())
),
page as materialized (
    select * from living
    where (worker_name, position) > (%(worker)s, %(position)s)
    order by worker_name, position
    limit %(limit)s
)
select page.worker_name as worker, page.position,
       array(select distinct h.scope from pgflow.session_handlers as h
             where h.session_id = page.session_id order by 1 limit 100) as scopes,
       array(select distinct h.handler from pgflow.session_handlers as h
             where h.session_id = page.session_id order by 1 limit 100) as handlers,
       (select count(distinct h.handler) from pgflow.session_handlers as h
        where h.session_id = page.session_id) as handler_count,
       page.credits,
       (select count(*) from pgflow.step_tasks as t where t.session_id = page.session_id) as in_flight,
       page.coordinator_id::text as coordinator, page.sdk, page.connected_at, page.lease_until, page.seen_at,
       greatest(0, extract(epoch from pgflow.now() - page.seen_at) * 1000)::bigint as lag_ms
from page
order by page.worker_name, page.position

-- list_queues --
-- A page of queues by name; a queue of its own has its flow's slug. One that was dropped meanwhile is shown empty.
with named as materialized (
    select q.queue_id, q.queue_name is not null as shared,
           coalesce(q.queue_name, own.workflow_slug) collate "C" as name
    from pgflow.queues as q
    left join (
        select v.queue_id, min(v.workflow_slug) as workflow_slug from pgflow.workflow_versions as v group by v.queue_id
    ) as own on own.queue_id = q.queue_id
),
page as materialized (
    select * from named
    where name is not null and (name, queue_id) > (%(name)s, %(queue_id)s)
    order by name, queue_id
    limit %(limit)s
)
select page.name, page.queue_id, page.shared, coalesce(r.depth, 0) as depth, coalesce(r.is_estimate, false) as depth_is_estimate,
       greatest(0, coalesce(extract(epoch from pgflow.now() - r.oldest_at), 0))::bigint as oldest_age_s,
       coalesce(r.unserved_count, 0) as unserved_count, coalesce(r.unserved, '[]') as unserved,
       coalesce(r.unserved_steps, '{}') as unserved_steps
from page
left join lateral pgflow.read_queue(page.queue_id) as r on true
order by page.name, page.queue_id
