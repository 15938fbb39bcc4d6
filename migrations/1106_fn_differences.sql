-- Lists what differs between two shapes, for a message: `timeout is 30, asked for: 60`. null = nothing does.
create or replace function pgflow.differences(p_names text[], p_existing text[], p_wanted text[]) returns text
language sql immutable
as $$
    select string_agg(
        format('%s is %s, asked for: %s', name, pgflow.shown(existing), pgflow.shown(wanted)), ', ' order by item)
    from unnest(p_names, p_existing, p_wanted) with ordinality as u (name, existing, wanted, item)
    where existing is distinct from wanted
$$;
