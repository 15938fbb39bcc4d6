-- list_handlers --
-- A page of the handlers that living sessions serve; see 1610_fn_list_handlers.sql.
select name, scope, description, params_schema::text as params_schema, input_schema::text as input_schema,
       output_schema::text as output_schema, session_count, steps, step_count
from pgflow.list_handlers(%(prefix)s, %(handler)s, %(scope)s, %(limit)s)

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
       coalesce(held.task_count, 0) as in_flight,
       page.coordinator_id::text as coordinator, page.sdk, page.connected_at, page.lease_until, page.seen_at,
       greatest(0, extract(epoch from pgflow.now() - page.seen_at) * 1000)::bigint as lag_ms
from page
left join pgflow.count_leases(array(select session_id from page)) as held on held.session_id = page.session_id
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
    -- The queue of inline plans exists from the start; it is shown once something is in it.
    where q.queue_name is distinct from 'plans' or own.queue_id is not null
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

-- served_handlers --
-- Names that living sessions serve in the common scope, with the params schema of the youngest that tells one.
select h.handler as name,
       (array_agg(d.params_schema::text order by s.connected_at desc) filter (where d.params_schema is not null))[1]
           as params_schema
from pgflow.session_handlers as h
join pgflow.sessions as s on s.session_id = h.session_id
left join pgflow.handler_details as d on d.details_id = h.details_id
where h.scope = '' and s.closed_at is null and s.lease_until > (select pgflow.now())
group by h.handler
order by h.handler
limit %(limit)s
