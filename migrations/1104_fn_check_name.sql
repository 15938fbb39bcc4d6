-- Refuses a text that is no slug: PF400 with the path, the value and the remedy.
create or replace function pgflow.check_name(p_path text, p_slug text) returns void
language plpgsql immutable
as $$
begin
    if not pgflow.is_valid_slug(p_slug) then
        raise exception '%: "%" is no slug; use letters, digits and _ (a letter or _ first), 1 to 128 characters, not "run"',
            p_path, left(p_slug, 140) using errcode = 'PF400', constraint = 'INVALID_SLUG';
    end if;
end
$$;
