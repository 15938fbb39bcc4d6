-- Says whether a text may name a handler: as a slug, with dots and hyphens, 1 to 260 characters. null = false.
create or replace function pgflow.is_valid_handler(handler text) returns boolean
language sql immutable parallel safe
as $$ select coalesce(handler ~ '^[a-zA-Z_][a-zA-Z0-9_.-]*$' and length(handler) <= 260, false) $$;
