"""pgflow.new_run_id: UUIDv7 on every supported server."""

from __future__ import annotations

import time
from uuid import RFC_4122

from tests.support.sql import call_one, values


async def test_it_is_a_uuid_of_version_7(conn):
    ids = await values(conn, "select pgflow.new_run_id() from generate_series(1, 200)")

    assert {(run_id.version, run_id.variant) for run_id in ids} == {(7, RFC_4122)}
    assert len(set(ids)) == 200


async def test_it_begins_with_the_milliseconds(conn):
    before = time.time_ns() // 1_000_000
    run_id = await call_one(conn, "new_run_id")
    after = time.time_ns() // 1_000_000

    # The server rounds to the nearest millisecond.
    assert before - 1 <= run_id.int >> 80 <= after + 1


async def test_later_ids_sort_behind_earlier_ones(conn):
    first = await call_one(conn, "new_run_id")
    await conn.execute("select pg_sleep(0.005)")

    assert await call_one(conn, "new_run_id") > first


async def test_every_random_bit_is_random(conn):
    ids = await values(conn, "select pgflow.new_run_id() from generate_series(1, 300)")
    random_bits = (1 << 80) - 1 & ~(0xF << 76) & ~(0b11 << 62)

    ever_one, ever_zero = 0, 0
    for run_id in ids:
        ever_one |= run_id.int
        ever_zero |= ~run_id.int
    assert ever_one & ever_zero & random_bits == random_bits
