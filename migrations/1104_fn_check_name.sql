-- Refuses a text that is no slug, or that names an inline plan: PF400 with the path, the value and the remedy.
create or replace function pgflow.check_name(p_path text, p_slug text) returns void
language plpgsql immutable
as $$
begin
    if starts_with(p_slug, 'plan:') then
        raise exception '%: "%" is the name of an inline plan, which StartRun makes and nobody changes: it goes with its last run; name a flow',
            p_path, left(p_slug, 140) using errcode = 'PF400', constraint = 'INVALID_SLUG';
    end if;
    if not pgflow.is_valid_slug(p_slug) then
        raise exception '%: "%" is no slug; use letters, digits and _ (a letter or _ first), 1 to 128 characters, not "run"',
            p_path, left(p_slug, 140) using errcode = 'PF400', constraint = 'INVALID_SLUG';
    end if;
end
$$;
