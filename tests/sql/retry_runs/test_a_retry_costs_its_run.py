"""The statements of pgflow.retry_runs follow indexes, whatever the statistics say."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.plans import explained
from tests.support.transitions import Transitions

_BIG = {"runs", "step_states", "step_tasks", "task_errors"}


@pytest.mark.parametrize("analysed", [False, True])
async def test_no_statement_reads_a_whole_table(conn: psycopg.AsyncConnection[Any], analysed: bool) -> None:
    engine = Transitions(conn)
    await engine.define("f", maps=["each"], make=[], each=["make"], join=["make", "each"])
    runs = await engine.start_many("f", 2000)
    await engine.complete(*await engine.lease(await engine.open_session(), 40), output="[1, 2]")
    await engine.cancel(*runs[:20])
    if analysed:
        await conn.execute("analyze")
    async with explained(conn) as statements:
        assert await engine.retry(*runs[:20]) == ["retried"] * 20
    scans = [scan for statement in statements if "pgflow" in statement.text for scan in statement.scans]
    assert scans
    assert [scan for scan in scans if scan.index is None and scan.table in _BIG] == []
