-- Lists what differs between two shapes (see version_shape), at most ten things, for a message. null = nothing does.
create or replace function pgflow.shape_differences(p_existing jsonb, p_wanted jsonb) returns text
language sql immutable
as $$
    with flat (side, path, value) as (
        select s.side, o.key, o.value #>> '{}'
        from (values ('existing', p_existing), ('wanted', p_wanted)) as s (side, shape)
        cross join lateral jsonb_each(s.shape - 'steps') as o (key, value)
        union all
        select s.side, 'step "' || step.key || '"', ''
        from (values ('existing', p_existing), ('wanted', p_wanted)) as s (side, shape)
        cross join lateral jsonb_each(s.shape -> 'steps') as step (key, value)
        union all
        select s.side, o.key || ' of step "' || step.key || '"', o.value #>> '{}'
        from (values ('existing', p_existing), ('wanted', p_wanted)) as s (side, shape)
        cross join lateral jsonb_each(s.shape -> 'steps') as step (key, value)
        cross join lateral jsonb_each(step.value) as o (key, value)
        where (p_existing -> 'steps') ? step.key and (p_wanted -> 'steps') ? step.key
    ),
    difference as (
        select coalesce(e.path, w.path) as path,
               case
                   when w.path is null then e.path || ' exists, not asked for'
                   when e.path is null then w.path || ' is new'
                   else format('%s is %s, asked for: %s', e.path, pgflow.shown(e.value), pgflow.shown(w.value))
               end as words
        from (select * from flat where side = 'existing') as e
        full join (select * from flat where side = 'wanted') as w on w.path = e.path
        where e.path is null or w.path is null or e.value is distinct from w.value
    )
    select string_agg(words, ', ' order by path) || case when max(total) > 10 then format(' and %s more', max(total) - 10) else '' end
    from (select *, row_number() over (order by path) as position, count(*) over () as total from difference) as d
    where position <= 10
$$;
