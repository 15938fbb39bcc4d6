r"""Renders the whole installation as one psql script.

It uses psql's \if, so that running it again, or over an older schema, applies only what is missing, and it leaves the
same records as `stepgres migrate up`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepgres_service.store.migrate_files import Kind, MigrationFile
from stepgres_service.store.pgmq import bundled_source, bundled_sql

_HEAD = r"""-- stepgres {version}: the whole installation, for psql.
--     stepgres migrate --sql | psql -v ON_ERROR_STOP=1 -f - "$DATABASE_URL"
-- Running it again applies only what is missing.
\set ON_ERROR_STOP on
"""

_GUARD = r"""
do $stepgres$
begin
    if current_setting('server_version_num')::int < 150000 then
        raise 'stepgres needs PostgreSQL 15 or newer';
    end if;
    if pg_is_in_recovery() then
        raise 'this server is a standby and takes no changes; use the primary';
    end if;
    if not exists (
        select from pg_attribute
        where attrelid = to_regclass('pgflow.schema_migrations') and attname = 'checksum' and not attisdropped
    ) and (
        exists (select from pg_class where relnamespace = to_regnamespace('pgflow'))
        or exists (select from pg_proc where pronamespace = to_regnamespace('pgflow'))
    ) then
        raise 'the schema pgflow of this database was made by another project; use a database of its own';
    end if;
end $stepgres$;
"""

# The extension where this role may create it, else the bundled SQL. `found` is a pgmq that was here before.
_PGMQ = r"""
select not exists (select from pgflow.schema_migrations where name = 'pgmq') as stepgres_todo,
       to_regnamespace('pgmq') is not null as stepgres_found \gset
\if :stepgres_todo
begin;
\if :stepgres_found
\else
do $stepgres$
begin
    if exists (select from pg_available_extensions where name = 'pgmq') then
        create extension if not exists pgmq;
    end if;
exception when insufficient_privilege then
    null;
end $stepgres$;
\endif
select to_regnamespace('pgmq') is null as stepgres_bundled \gset
\if :stepgres_bundled
{sql}
\endif
do $stepgres$
begin
    if to_regprocedure('pgmq.create(text)') is null or to_regprocedure('pgmq.delete(text, bigint[])') is null
        or to_regprocedure('pgmq.drop_queue(text)') is null
        or (select string_to_array(extversion, '.')::int[] < array[1, 5, 1] from pg_extension where extname = 'pgmq')
    then
        raise 'the pgmq of this database is too old; 1.5.1 or newer is needed';
    end if;
end $stepgres$;
insert into pgflow.schema_migrations (name, kind, checksum, version)
select 'pgmq', 'pgmq',
    case when e.extversion is not null then 'extension'
         when :'stepgres_bundled'::boolean then '{checksum}' else 'found' end,
    case when e.extversion is not null then e.extversion
         when :'stepgres_bundled'::boolean then '{version}' else 'unknown' end
from (select 1) as one left join pg_extension as e on e.extname = 'pgmq';
commit;
\endif
"""

_FILE = r"""
-- ============================================================================================ {name}
select not exists (
    select from pgflow.schema_migrations where name = '{name}'{same}
) as stepgres_todo \gset
\if :stepgres_todo
{begin}{text}
{late_begin}insert into pgflow.schema_migrations (name, kind, checksum, version)
values ('{name}', '{kind}', '{checksum}', '{version}')
on conflict (name) do update set checksum = excluded.checksum, version = excluded.version, applied_at = now();
{commit}\endif
"""


def render(files: Sequence[MigrationFile], queries: dict[str, bytes], version: str) -> str:
    """Return the script for these files."""
    return "".join(_parts(files, queries, version))


def _parts(files: Sequence[MigrationFile], queries: dict[str, bytes], version: str) -> Iterator[str]:
    yield _HEAD.format(version=version)
    yield queries["prepare_session"].decode() + "\n"
    yield "\\o /dev/null\n" + queries["lock"].decode() + "\n\\o\n"
    yield _GUARD
    yield queries["bookkeeping"].decode() + "\n"
    source = bundled_source()
    pgmq = _PGMQ.replace("{checksum}", source.checksum).replace("{version}", source.version)
    yield pgmq.replace("{sql}", bundled_sql())
    for file in files:
        if file.kind is Kind.STRUCTURE:
            yield _file(file, version, single=True)
    # All functions in one transaction, as `up` does it: callers see the old set or the new one.
    yield "\nbegin;\n"
    for file in files:
        if file.kind is Kind.FUNCTION:
            yield _file(file, version, single=False)
    yield "commit;\n\n\\o /dev/null\n" + queries["unlock"].decode() + "\n\\o\n"


def _file(file: MigrationFile, version: str, *, single: bool) -> str:
    own = single and file.in_transaction
    parts = {
        "name": file.name,
        "kind": file.kind.value,
        "checksum": file.checksum,
        "version": version,
        "same": "" if file.kind is Kind.STRUCTURE else f" and checksum = '{file.checksum}'",
        "begin": "begin;\n" if own else "",
        "late_begin": "begin;\n" if single and not own else "",
        "commit": "commit;\n" if single else "",
    }
    script = _FILE
    for key, value in parts.items():
        script = script.replace(f"{{{key}}}", value)
    # Last, so that braces in the file's own text stay as they are.
    return script.replace("{text}", file.text.rstrip())
