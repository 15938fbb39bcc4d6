"""A coordinator takes nobody's tasks before it has heard from the database for a whole lease without a break."""

from __future__ import annotations

from typing import Any

import psycopg

from stepgres_service.engine.contact import Contact
from stepgres_service.engine.sweeper import Sweeper
from tests.integration.conftest import running_coordinator
from tests.support.transitions import Transitions


async def test_nobody_is_swept_before_a_whole_lease_of_unbroken_contact(
    database: str, conn: psycopg.AsyncConnection[Any]
) -> None:
    now = 1000.0
    # Its own sweeper would need as long: it does nothing while the test runs.
    async with running_coordinator(database, lease_s=90, heartbeat_s=30) as coordinator:
        engine, work = Transitions(conn), coordinator.engine
        await engine.define("one", work=[])
        await engine.start("one")
        await engine.lease(await engine.open_session(lease_ms=0))
        contact = Contact(lambda: now, 100)
        sweeper = Sweeper(work._sessions, work.registry, contact, work.settings)

        async def swept() -> bool:
            await sweeper.run_once()
            return bool(await engine.rows("select 1 from pgflow.sessions where closed_at is not null"))

        assert not await swept()
        now += 89
        assert not await swept()
        contact.failed()
        now += 1
        assert not await swept()
        now += 89
        assert not await swept()
        now += 1
        assert await swept()
        await engine.assert_invariants()
