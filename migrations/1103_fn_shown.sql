-- A value as a message shows it: cut after 100 characters. null = `not set`.
create or replace function pgflow.shown(p_value text) returns text
language sql immutable parallel safe
as $$ select case when length(p_value) > 100 then left(p_value, 100) || '…' else coalesce(p_value, 'not set') end $$;
