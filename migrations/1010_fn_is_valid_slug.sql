-- Says whether a text may name a flow or a step: letters, digits and _, not beginning with a digit, 1 to 128
-- characters, and not `run`, which is the run input's key among a task's inputs. null = false.
create or replace function pgflow.is_valid_slug(slug text) returns boolean
language sql immutable parallel safe
as $$ select coalesce(slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$' and length(slug) <= 128 and slug <> 'run', false) $$;
