"""pgflow.now: the real time, unless a test says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.sql import call_one


async def test_it_is_the_real_time_and_goes_on_inside_a_transaction(conn):
    async with conn.transaction():
        first = await call_one(conn, "now")
        await conn.execute("select pg_sleep(0.005)")
        second = await call_one(conn, "now")

    assert second > first
    assert abs((datetime.now(UTC) - second).total_seconds()) < 60


async def test_a_setting_stops_it(conn):
    await conn.execute("set pgflow.now = '2030-01-01 00:00:00+00'")

    assert await call_one(conn, "now") == datetime(2030, 1, 1, tzinfo=UTC)


async def test_an_empty_setting_is_none(conn):
    # What a setting is after `set local` and the end of its transaction.
    async with conn.transaction():
        await conn.execute("set local pgflow.now = '2030-01-01 00:00:00+00'")

    assert abs((datetime.now(UTC) - await call_one(conn, "now")).total_seconds()) < 60


async def test_the_engine_takes_its_times_from_it(conn):
    await conn.execute("set pgflow.now = '2030-01-01 00:00:00+00'")
    await conn.execute("select pgflow.create_flow('etl')")
    await conn.execute("select pgflow.start_run('etl', '{}')")

    row = await (await conn.execute("select started_at, completed_at from pgflow.runs")).fetchone()
    assert row == (datetime(2030, 1, 1, tzinfo=UTC),) * 2
