"""A handler that blocks the loop, or the interpreter's lock, is named before the lease is gone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from stepgres_worker import Worker
from stepgres_worker._watchdog import Watchdog
from stepgres_worker.testing import FakeTransport


@pytest.mark.slow  # a third of a lease
async def test_a_blocking_coroutine_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    warned = threading.Event()

    class Hear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.set()

    @worker.step("blocks")
    async def blocks(input: Any) -> str:
        watchdog._limit_s = 0.05
        looking.start()
        assert warned.wait(10)  # holds the loop until it is noticed
        return "done"

    hear = Hear()
    logging.getLogger("stepgres_worker").addHandler(hear)
    caplog.set_level(logging.WARNING, logger="stepgres_worker")
    try:
        async with fake.serving(worker):
            watchdog = Watchdog(worker._session.executor, asyncio.get_running_loop(), 15.0)
            looking = threading.Thread(target=watchdog.look, daemon=True)
            assert await fake.run_task("blocks") == "done"
            looking.join(10)  # every handler has the record only when the call has returned
    finally:
        logging.getLogger("stepgres_worker").removeHandler(hear)
    assert "blocks has held the event loop" in caplog.text
    assert "warned.wait(10)" in caplog.text


async def test_a_free_loop_is_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    async with fake.serving(worker):
        watchdog = Watchdog(worker._session.executor, asyncio.get_running_loop(), 15.0)
        assert await asyncio.to_thread(watchdog.look)
    assert caplog.records == []


async def test_a_held_interpreter_lock_is_noticed_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    worker.step("one")(lambda input: 1)
    times = iter([100.0, 106.0])  # nobody could run for 6 s, so the clock jumped
    caplog.set_level(logging.WARNING, logger="stepgres_worker")
    async with fake.serving(worker):
        watchdog = Watchdog(
            worker._session.executor, asyncio.get_running_loop(), 15.0, monotonic=lambda: next(times, time.monotonic())
        )
        await asyncio.to_thread(watchdog.look)
    assert "was held for 6.0 s" in caplog.text
