-- server_facts --
-- What decides whether this server can carry stepgres at all.
select current_setting('server_version_num')::int as version_num, pg_is_in_recovery() as is_standby;

-- schema_facts --
-- Who made the schema pgflow: ours has a table schema_migrations with a checksum.
select
    exists (
        select from pg_attribute
        where attrelid = to_regclass('pgflow.schema_migrations') and attname = 'checksum' and not attisdropped
    ) as is_ours,
    to_regclass('pgflow.flows') is not null as has_flows,
    to_regclass('pgflow.workflows') is not null as has_workflows,
    array(
        select relname::text from pg_class
        where relnamespace = to_regnamespace('pgflow') and relkind in ('r', 'p', 'v', 'm', 'f')
        order by relname
    ) || array(
        select proname || '()' from pg_proc where pronamespace = to_regnamespace('pgflow') order by proname
    ) as object_names;

-- lock --
-- One migrate at a time; waits for lock_timeout.
select pg_advisory_lock(7310868742389);

-- unlock --
-- The end of `lock`.
select pg_advisory_unlock(7310868742389);

-- prepare_session --
-- Quiet notices, and an end to waiting behind a long transaction.
set client_min_messages = warning;
set lock_timeout = '60s';

-- bookkeeping --
-- What was applied. `version` is the stepgres that applied a file, or pgmq's own version.
create schema if not exists pgflow;
create table if not exists pgflow.schema_migrations (
    name text primary key,
    kind text not null check (kind in ('pgmq', 'structure', 'function')),
    checksum text not null,
    version text not null,
    applied_at timestamptz not null default now()
);
comment on table pgflow.schema_migrations is 'stepgres migrate: what was applied to this database';

-- recorded --
-- Everything that was applied.
select name, kind, checksum, version, applied_at from pgflow.schema_migrations order by name;

-- record --
-- A file was applied, for the first time or again.
insert into pgflow.schema_migrations (name, kind, checksum, version)
values (%(name)s, %(kind)s, %(checksum)s, %(version)s)
on conflict (name) do update
set checksum = excluded.checksum, version = excluded.version, applied_at = now();

-- pgmq_facts --
-- Whether pgmq is there or offered, and which of the functions we call are missing.
select
    to_regnamespace('pgmq') is not null as has_schema,
    (select extversion from pg_extension where extname = 'pgmq') as extension_version,
    exists (select from pg_available_extensions where name = 'pgmq') as is_offered,
    array(
        select signature
        from unnest(array[
            'pgmq.create(text)', 'pgmq.delete(text, bigint[])', 'pgmq.drop_queue(text)'
        ]) as signature
        where to_regprocedure(signature) is null
    ) as missing_functions;

-- create_extension --
-- pgmq where the server offers it.
create extension if not exists pgmq;
