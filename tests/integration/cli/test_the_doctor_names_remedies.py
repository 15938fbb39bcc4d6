from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Step
from tests.integration.cli.conftest import Cli


async def findings(cli: Cli, database: str) -> dict[str, dict[str, Any]]:
    said = await cli("doctor", "--database-url", database, "-o", "json")
    found = {line["check"]: line for line in json.loads(said.out)["findings"]}
    assert said.code == (0 if all(line["ok"] for line in found.values()) else 1)
    for line in found.values():
        assert bool(line["remedy"]) is not line["ok"], line
    return found


async def test_a_sound_system_is_sound(cli: Cli, database: str) -> None:
    found = await findings(cli, database)
    # The tests' own server trades durability for speed, and the doctor sees it.
    wrong = {check for check, line in found.items() if not line["ok"]}
    assert wrong <= {"server settings"}
    assert {"coordinator", "served steps", "schema", "pgmq", "expired sessions", "vacuum"} <= set(found)


async def test_steps_that_nobody_serves_are_named(cli: Cli, coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("f", [Step("lonely")])
        await client.start_run("f")
    async with asyncio.timeout(20):
        while "f.lonely" not in (said := await cli("doctor")).out:
            pass
    assert said.code == 1
    assert "start a worker that serves them" in said.out


async def test_sessions_that_nobody_sweeps_are_counted(
    cli: Cli, database: str, conn: psycopg.AsyncConnection[Any]
) -> None:
    await conn.execute(
        "insert into pgflow.sessions (session_id, instance_hash, coordinator_id, worker_id, lease_until, seen_at,"
        " grace_ms, connected_at) select gen_random_uuid(), 'x', gen_random_uuid(), 1, now() - interval '1 hour', now(),"
        " 2000, now() - interval '1 day'"
    )
    await conn.commit()
    async with conn.transaction(), conn.cursor() as cursor:
        # Held as a sweep that hangs would hold it, so that the coordinator of this test cannot mend it.
        await cursor.execute("select from pgflow.sessions for update")
        found = await findings(cli, database)
    assert "1 sessions with 0 tasks" in found["expired sessions"]["problem"]


@pytest.mark.parametrize(
    ("spoil", "check", "says"),
    [
        ("delete from pgflow.schema_migrations where name like '1350%'", "schema", "lacks"),
        ("update pgflow.schema_migrations set checksum = 'x' where name like '0003%'", "schema", "another text"),
        ("drop function pgmq.delete(text, bigint[])", "pgmq", "delete"),
    ],
)
async def test_a_schema_that_is_not_ours_is_told(
    cli: Cli, database: str, conn: psycopg.AsyncConnection[Any], spoil: str, check: str, says: str
) -> None:
    await conn.execute(spoil)
    await conn.commit()
    found = await findings(cli, database)
    assert says in found[check]["problem"]


async def test_a_pgmq_that_is_too_old_is_told_with_what_to_run(
    cli: Cli, database: str, conn: psycopg.AsyncConnection[Any]
) -> None:
    # As CREATE EXTENSION of an old package would have left it.
    await conn.execute(
        "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
        " select 99999, 'pgmq', nspowner, oid, false, '1.4.4' from pg_namespace where nspname = 'pgmq'"
    )
    found = await findings(cli, database)
    await conn.execute("delete from pg_extension where extname = 'pgmq'")
    assert found["pgmq"]["problem"] == "pgmq 1.4.4 is too old, 1.5.1 or newer is needed"
    assert "alter extension pgmq update" in found["pgmq"]["remedy"]


async def test_a_table_that_vacuum_does_not_visit_is_told_with_what_to_run(
    cli: Cli, database: str, conn: psycopg.AsyncConnection[Any]
) -> None:
    await conn.execute("select pgmq.create('neglected')")
    await conn.execute("alter table pgmq.q_neglected set (autovacuum_enabled = false)")
    await conn.execute(
        "insert into pgmq.q_neglected (vt, message) select now(), '{}'::jsonb from generate_series(1, 60000)"
    )
    await conn.execute("delete from pgmq.q_neglected")
    await conn.execute("select pg_stat_force_next_flush()")
    found = await findings(cli, database)
    assert (
        "pgmq.q_neglected has 60000 dead rows beside 0 living ones; it was vacuumed never yet"
        in found["vacuum"]["problem"]
    )
    assert "vacuum (analyze) pgmq.q_neglected" in found["vacuum"]["remedy"]
    await conn.execute("vacuum (analyze) pgmq.q_neglected")
    await conn.execute("select pg_stat_force_next_flush()")
    assert (await findings(cli, database))["vacuum"]["ok"]
