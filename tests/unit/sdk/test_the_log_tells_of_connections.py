"""The worker's connection in its log: a line when it is there, one when it is lost, few while it is, one when it is back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stepgres_worker import Flow, Unavailable, Worker
from stepgres_worker._errors import request_error
from stepgres_worker.testing import FakeTransport, ManualClock

REFUSED = request_error("UNAVAILABLE", "connect: Connection refused (111)", target="db:1")


@pytest.fixture(autouse=True)
def _lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stepgres_worker")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "stepgres_worker"]


def worker_of(fake: FakeTransport, clock: ManualClock, *flows: Flow) -> Worker:
    worker = Worker(*flows, transport=fake, clock=clock, name="w1", concurrency=7)
    worker.step("one")(lambda input: 1)
    worker.step("two")(lambda input: 2)
    return worker


async def test_a_line_when_connected_one_when_lost_few_while_lost_one_when_back(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake.target = "db:1"
    async with fake.serving(worker_of(fake, clock)) as worker:
        assert told(caplog) == [
            ("INFO", "worker w1 is connected to db:1 (coordinator fake): 2 handlers, up to 7 tasks at a time")
        ]
        caplog.clear()
        fake.refuse = REFUSED
        fake.disconnect(request_error("UNAVAILABLE", "Socket closed", target="db:1"))
        for _ in range(70):
            await clock.advance(1)
        fake.refuse = None
        while not worker._session.welcome.resumed:
            await clock.advance(1)
        lost, *still, back = told(caplog)
    assert lost == (
        "WARNING",
        "worker w1: the connection to db:1 is lost (the connection was closed); connecting again. 0 running tasks go "
        "on, and results are kept until they can be sent",
    )
    assert len(fake.streams) > 6  # it has tried far more often than it tells
    assert 1 <= len(still) <= 2  # in 70 s and a bit, at random moments
    for level, line in still:
        assert level == "WARNING"
        assert line.startswith("worker w1: no connection to db:1 for ")
        assert line.endswith(" s (connection refused); still trying")
    assert back[0] == "INFO"
    assert back[1].startswith("worker w1 is connected again to db:1 (coordinator fake), after ")
    assert back[1].endswith(" s; its tasks go on")


async def test_nobody_there_at_the_start_is_told_at_once_with_what_to_do(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake.refuse = REFUSED
    calls = asyncio.Event()

    def refuse(request: object) -> object:
        calls.set()
        raise REFUSED

    fake.answer("CreateFlow", refuse)
    flow = Flow("f")
    flow.step(slug="a")(lambda input: 1)
    worker = worker_of(fake, clock, flow)
    serving = asyncio.create_task(worker.serve())
    await calls.wait()
    for _ in range(20):
        await clock.advance(1)
    assert told(caplog) == [("WARNING", f"worker w1: {REFUSED} Trying again until one answers.")]
    assert "`stepgres dev`" in str(REFUSED)
    worker.stop()
    await serving


async def test_moving_on_because_of_a_drain_is_no_loss(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake.serving(worker_of(fake, clock)):
        caplog.clear()
        fake.drain()
        await fake.until(lambda: len(fake.of("hello")) == 2)
        await fake.run_task("one")
        lines = told(caplog)
    assert lines[-1] == ("INFO", "worker w1 has moved to fake (coordinator fake)")
    assert {level for level, _ in lines} == {"INFO"}


async def test_a_session_that_ended_meanwhile_is_told(
    fake: FakeTransport, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake.serving(worker_of(fake, clock)):
        fake.expire_session()
        fake.disconnect()
        await clock.advance(1)
        await fake.until(lambda: len(fake.of("hello")) == 2)
        await fake.run_task("one")
        assert told(caplog)[-1][1].endswith("; its session had ended meanwhile, others may have its tasks")


def test_causes_are_plain_words() -> None:
    texts = {
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host: "
        "connect: Connection refused (111)": "connection refused",
        "DNS resolution failed for nobody:1: C-ares status is not ARES_SUCCESS": "its name does not resolve",
        "Socket closed": "the connection was closed",
        "recvmsg:Connection reset by peer": "the connection was reset",
        "something new": "something new",
        "": "no reason was given",
    }
    for text, words in texts.items():
        error = request_error("UNAVAILABLE", text)
        assert isinstance(error, Unavailable)
        assert error.cause == words
