"""A description of everything in a database's own schemas, to compare two databases by structure."""

from __future__ import annotations

import psycopg

_QUERIES = {
    "columns": """
        select c.oid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, pg_get_expr(d.adbin, d.adrelid), c.reloptions
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        where c.relnamespace::regnamespace::text in ('pgflow', 'pgmq') and c.relkind in ('r', 'p', 'v')
          and a.attnum > 0 and not a.attisdropped
        order by 1, 2""",
    "indexes": """
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i
        join pg_class c on c.oid = i.indexrelid
        where c.relnamespace::regnamespace::text in ('pgflow', 'pgmq') order by 1""",
    "constraints": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace::regnamespace::text in ('pgflow', 'pgmq') order by 1, 2""",
    "functions": """
        select oid::regprocedure::text, md5(pg_get_functiondef(oid)) from pg_proc
        where pronamespace::regnamespace::text in ('pgflow', 'pgmq') and prokind in ('f', 'p') order by 1""",
    "records": "select name, kind, checksum, version from pgflow.schema_migrations order by name",
}


def describe(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Tables, columns, indexes, constraints, functions and migration records."""
    with psycopg.connect(dsn) as conn:
        return {name: conn.execute(query).fetchall() for name, query in _QUERIES.items()}
