from __future__ import annotations

import asyncio

import pytest

from stepgres_worker import Flow, Worker
from stepgres_worker.testing import FakeTransport


async def test_steps_that_were_added_after_the_worker_was_made_are_served() -> None:
    fake = FakeTransport()
    flow = Flow("late")
    worker = Worker(flow, transport=fake)
    flow.step(slug="first")(lambda input: "done")
    async with fake.serving(worker):
        task = fake.send_task("late.first")
        assert await task.result() == "done"
    assert worker.handlers == ("late.first",)


async def test_who_waits_for_a_worker_that_cannot_serve_is_told_why() -> None:
    worker = Worker(Flow("empty"), transport=FakeTransport())
    serving = asyncio.create_task(worker.serve())
    with pytest.raises(RuntimeError, match="ended before a coordinator welcomed it: this worker has no handlers"):
        await worker.wait_ready()
    with pytest.raises(ValueError, match="no handlers"):
        await serving


async def test_a_worker_is_ready_once_for_each_time_it_serves() -> None:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    worker.step("work")(lambda input: 1)
    async with fake.serving(worker):
        await worker.wait_ready()
        await worker.wait_ready()
    again = asyncio.create_task(worker.wait_ready())
    await asyncio.sleep(0)
    assert not again.done()
    async with fake.serving(worker):
        await again
