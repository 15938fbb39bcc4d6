-- The engine's clock: every due time, lease and timestamp comes from here.
--   Tests set it with `set pgflow.now = '2030-01-01'`; unset or empty it is the real time, also inside a transaction.
create or replace function pgflow.now() returns timestamptz
language sql volatile
as $$ select coalesce(nullif(current_setting('pgflow.now', true), '')::timestamptz, clock_timestamp()) $$;
