-- Starts runs, each accepted or refused on its own; one bad item fails no other.
--   nothing -> run started with its root steps started and their tasks queued; a flow without steps completes at once.
--   The arrays run side by side. p_versions: 0 = latest. p_idempotency_keys: null = none; with a key, p_input_hashes
--   is the sha256 of the input's bytes; keys are unique per flow, and among the runs of all plans. p_run_ids: UUIDv7 of the caller's making, so that history stays in order.
--   verdict: created, existing (the key's run), unknown_flow, unknown_version, key_reused, type_violation,
--   initial_tasks_mismatch, too_many_items; detail holds the facts of a refusal.
--   Locks: key share on the flows (add_step may go on, delete_flow waits); the new runs are nobody else's yet. Waits
--   1 s for them, since the starts of a coordinator wait together: raises 55P03 while a flow is being deleted, or a key
--   is taken by a transaction that stays open.
create or replace function pgflow.start_runs(
    p_workflow_slugs text[], p_versions int[], p_inputs text[], p_scopes text[], p_idempotency_keys text[],
    p_input_hashes bytea[], p_run_ids uuid[], p_traceparents text[],
    p_max_items int default 100000, p_max_input_bytes bigint default 16777216
) returns table (
    item int, run_id uuid, verdict text, detail text, version int, workflow_version_id int, status text,
    ready_routes int[]
)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
-- Joins as they are written: from a route to all steps of its handler would be quadratic where flows share handlers.
set join_collapse_limit = 1
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := pgflow.now();
    v_verdicts text[];
    v_details text[];
    v_workflow_ids int[];
    v_version_ids int[];
    v_step_counts smallint[];
    v_items int[];
    v_created_ids uuid[];
    v_created int[];
    v_scopes text[] := p_scopes;
    v_root record;
    v_ready_routes int[];
    v_ready record;
    v_cascade_routes int[];
begin
    perform 1 from pgflow.workflows where workflow_slug = any(p_workflow_slugs) order by workflow_slug for key share;

    -- What each item asks for. The step count is read once and bounds every later join: a step added meanwhile is
    -- no part of these runs.
    select array_agg(w.workflow_id order by u.item), array_agg(v.version_id order by u.item),
           array_agg(s.step_count order by u.item),
           array_agg(case
               when w.workflow_id is null then 'unknown_flow'
               when v.version_id is null then 'unknown_version'
               when s.has_root_map then pgflow.root_map_verdict(v.version_id, u.input::json, p_max_items)
           end order by u.item),
           array_agg(case when v.version_id is null then w.latest_version::text end order by u.item)
    into v_workflow_ids, v_version_ids, v_step_counts, v_verdicts, v_details
    from unnest(p_workflow_slugs, p_versions, p_inputs) with ordinality as u (slug, version, input, item)
    left join pgflow.workflows as w on w.workflow_slug = u.slug
    left join pgflow.workflow_versions as v
        on v.workflow_slug = u.slug and v.version = case when u.version = 0 then w.latest_version else u.version end
    left join lateral (
        select count(*)::smallint as step_count, bool_or(step_type = 'map' and deps_count = 0) as has_root_map
        from pgflow.workflow_steps where version_id = v.version_id
    ) as s on v.version_id is not null;

    insert into pgflow.routes (queue_id, scope, handler)
    select distinct s.queue_id, u.scope, s.handler
    from (
        select distinct version_id, scope from unnest(v_version_ids, p_scopes, v_verdicts) as u (version_id, scope, verdict)
        where verdict is null
    ) as u
    join pgflow.workflow_steps as s on s.version_id = u.version_id
    where u.scope <> '' or not exists (
        select from pgflow.routes as r where r.queue_id = s.queue_id and r.scope = u.scope and r.handler = s.handler
    )
    order by 1, 2, 3
    -- Locks the routes of scopes against prune_routes until these runs can be seen.
    on conflict (queue_id, scope, handler) do update set used_at = v_now where excluded.scope <> '';

    with created as (
        insert into pgflow.runs (
            run_id, workflow_id, version_id, step_count, remaining_steps, status, started_at, completed_at, scope,
            idempotency_key, is_plan, input_hash, traceparent, input
        )
        select u.run_id, u.workflow_id, u.version_id, u.step_count, u.step_count,
               case when u.step_count = 0 then 'completed' else 'started' end, v_now,
               case when u.step_count = 0 then v_now end, u.scope, u.key,
               starts_with(u.slug, 'plan:'), case when u.key is not null then u.input_hash end, u.traceparent, u.input::json
        from unnest(p_run_ids, p_workflow_slugs, v_workflow_ids, v_version_ids, v_step_counts, p_scopes,
                    p_idempotency_keys, p_input_hashes, p_traceparents, p_inputs, v_verdicts) with ordinality
            as u (run_id, slug, workflow_id, version_id, step_count, scope, key, input_hash, traceparent, input,
                  verdict, item)
        where u.verdict is null
        -- In one order, so that two batches with the same keys wait for each other one way round; the first of
        -- two equal keys in one batch is the one that creates.
        order by case when starts_with(u.slug, 'plan:') then 0 else u.workflow_id end, u.key, u.item
        on conflict do nothing
        returning run_id
    )
    select array_agg(run_id) into v_created_ids from created;
    v_items := array(select u.item from unnest(v_verdicts) with ordinality as u (verdict, item) where verdict is null);
    if cardinality(v_created_ids) = cardinality(v_items) then
        v_created := v_items;
        v_items := '{}';
    else
        -- Rare, and worth a check of each item against all: some keys were used before.
        v_created := array(select u.item from unnest(v_items) as u (item) where p_run_ids[u.item] = any(v_created_ids));
        v_items := array(select u.item from unnest(v_items) as u (item) where u.item <> all(v_created));
    end if;

    with state as (
        insert into pgflow.step_states (
            run_id, step_index, is_map, status, remaining_deps, initial_tasks, remaining_tasks, route_id,
            input_bytes, started_at
        )
        select p_run_ids[c.item], s.step_index, s.step_type = 'map',
               case when s.deps_count = 0 then 'started' else 'created' end, s.deps_count,
               case when s.step_type = 'single' then 1 end, case when s.step_type = 'single' then 1 end, r.route_id,
               octet_length(p_inputs[c.item]), case when s.deps_count = 0 then v_now end
        from unnest(v_created) as c (item)
        join pgflow.workflow_steps as s
            on s.version_id = v_version_ids[c.item] and s.step_index < v_step_counts[c.item]
        join pgflow.routes as r
            on r.queue_id = s.queue_id and r.scope = v_scopes[c.item] and r.handler = s.handler
        returning run_id, step_index, route_id, is_map, remaining_deps
    )
    select array_agg(run_id) as run_ids, array_agg(step_index) as step_indexes, array_agg(route_id) as route_ids,
           array_agg(is_map) as are_maps
    into v_root from state where remaining_deps = 0;

    if v_root.run_ids is not null then
        select * into v_ready from pgflow.start_ready_steps(
            v_root.run_ids, v_root.step_indexes, v_root.route_ids, v_root.are_maps, p_max_items
        );
        if v_ready.done_run_ids is not null then
            select a.ready_routes into v_cascade_routes from pgflow.advance_runs(
                '{}', v_ready.done_run_ids, v_ready.done_step_indexes,
                array_fill(2::bigint, array[cardinality(v_ready.done_run_ids)]), p_max_items, p_max_input_bytes
            ) as a;
        end if;
    end if;

    v_ready_routes := array(select distinct route_id from unnest(v_root.route_ids || v_cascade_routes) as u (route_id));
    return query
    select u.item::int,
           coalesce(r.run_id, case when u.verdict is null then u.run_id end),
           case
               when u.verdict is not null then split_part(u.verdict, ':', 1)
               when r.run_id is null then 'created'
               when r.workflow_id = u.workflow_id and r.input_hash = u.input_hash
                    and (u.version = 0 or v.version = u.version) then 'existing'
               else 'key_reused'
           end,
           case
               when u.verdict like '%:%' then substr(u.verdict, strpos(u.verdict, ':') + 1)
               when u.detail is not null then u.detail
               when r.workflow_id <> u.workflow_id then 'plan'
               when r.input_hash <> u.input_hash then 'input'
               when r.run_id is not null then 'version ' || v.version
           end,
           v.version, u.version_id, coalesce(r.status, case when u.verdict is null then mine.status end),
           case when u.item = 1 then v_ready_routes end
    from unnest(p_run_ids, p_workflow_slugs, v_verdicts, v_details, v_workflow_ids, v_version_ids,
                p_idempotency_keys, p_input_hashes, p_versions)
        with ordinality as u (run_id, slug, verdict, detail, workflow_id, version_id, key, input_hash, version, item)
    left join lateral (
        select f.* from pgflow.runs as f
        where u.item = any(v_items) and not starts_with(u.slug, 'plan:')
          and f.workflow_id = u.workflow_id and f.idempotency_key = u.key
        union all
        select p.* from pgflow.runs as p
        where u.item = any(v_items) and starts_with(u.slug, 'plan:') and p.is_plan and p.idempotency_key = u.key
    ) as r on true
    left join pgflow.runs as mine on mine.run_id = u.run_id
    left join pgflow.workflow_versions as v on v.version_id = coalesce(r.version_id, u.version_id)
    order by u.item;
end
$$;
