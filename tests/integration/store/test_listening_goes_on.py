"""Nobody asks how the listener is, so nothing may end it without a word."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from structlog.testing import capture_logs

from stepgres_service.store.listen import Listener
from stepgres_service.store.pool import Database
from tests.support.pg_proxy import pg_proxy


async def test_a_fault_of_ours_does_not_end_the_listening(database: str, conn: psycopg.AsyncConnection[Any]) -> None:
    heard, connected = asyncio.Queue[str](), 0

    def on_connected() -> None:
        nonlocal connected
        connected += 1
        if connected == 1:
            raise LookupError("a fault of ours")
        heard.put_nowait("connected")

    def hear(payload: str, pid: int) -> None:
        heard.put_nowait(payload)

    listener = Listener(Database(database), {"pgflow_ready": hear}, on_connected)
    with capture_logs() as lines:
        listener.start()
        async with asyncio.timeout(10):
            assert await heard.get() == "connected"
            await conn.execute("notify pgflow_ready, '7'")
            assert await heard.get() == "7"
    await listener.stop()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "listening failed; polls go on, reconnecting"
    ]


async def test_an_address_that_leads_nowhere_is_told_once(database: str) -> None:
    connected = asyncio.Event()
    async with pg_proxy(database) as proxy:
        proxy.accepts = False
        listener = Listener(Database(proxy.dsn), {}, connected.set)
        with capture_logs() as lines:
            listener.start()
            async with asyncio.timeout(10):
                while proxy.refused < 3:
                    await asyncio.sleep(0.01)
                proxy.accepts = True
                await connected.wait()
        await listener.stop()
    assert [line["event"] for line in lines] == ["no notifications come; polls go on, reconnecting"]
