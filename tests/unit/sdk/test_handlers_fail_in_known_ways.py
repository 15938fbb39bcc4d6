"""Exceptions and outputs that are none, as what is sent for them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from stepgres_worker import Flow, TaskError, Worker
from stepgres_worker.testing import FakeTransport, TaskFailed


class CardError(Exception):
    """The card is bad."""


class Unprintable(Exception):
    """Its text fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raiser(error: BaseException, kind: str) -> Callable[[Any], Any]:
    """A handler that raises."""

    def thread(input: Any) -> None:
        raise error

    async def at_once(input: Any) -> None:
        raise error

    async def later(input: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return {"thread": thread, "at_once": at_once, "later": later}[kind]


async def failure_of(handler: Callable[..., Any], **options: Any) -> TaskFailed:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    worker.step("h", **options)(handler)
    async with fake.serving(worker):
        with pytest.raises(TaskFailed) as failure:
            await fake.run_task("h")
        return failure.value


@pytest.fixture(params=["thread", "at_once", "later"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the handler runs."""
    return str(request.param)


async def test_any_exception_is_retryable_with_type_text_and_traceback(kind: str) -> None:
    failure = await failure_of(raiser(ValueError("no such thing"), kind))
    assert (failure.code, failure.message, failure.retryable) == ("HANDLER_ERROR", "ValueError: no such thing", True)
    assert failure.retry_after_s is None
    assert "raise error" in failure.details
    assert failure.details.rstrip().endswith("ValueError: no such thing")


async def test_a_task_error_says_it_all(kind: str) -> None:
    error = TaskError("bank is busy", code="BANK_BUSY", retryable=True, retry_after_s=2.5)
    failure = await failure_of(raiser(error, kind))
    assert (failure.code, failure.message) == ("BANK_BUSY", "bank is busy")
    assert (failure.retryable, failure.retry_after_s) == (True, 2.5)
    failure = await failure_of(raiser(TaskError("never", retryable=False, retry_after_s=0), kind))
    assert (failure.code, failure.retryable, failure.retry_after_s) == ("HANDLER_ERROR", False, 0)


async def test_listed_exceptions_and_their_children_fail_for_good(kind: str) -> None:
    class Expired(CardError):
        pass

    for error in (CardError("no"), Expired("no")):
        failure = await failure_of(raiser(error, kind), non_retryable=(CardError, LookupError))
        assert not failure.retryable
    assert (await failure_of(raiser(ValueError(), kind), non_retryable=(CardError,))).retryable


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("own"), Unprintable()])
async def test_not_even_these_take_the_worker_along(error: BaseException, kind: str) -> None:
    failure = await failure_of(raiser(error, kind))
    assert failure.code == "HANDLER_ERROR"
    assert failure.message.startswith(type(error).__name__)


async def test_the_text_is_cut_and_cleaned() -> None:
    failure = await failure_of(raiser(ValueError("a\0b\ud800" + "é" * 10_000), "thread"))
    assert len(failure.message.encode()) <= 8192
    assert "\0" not in failure.message + failure.details
    assert failure.message.startswith("ValueError: a\N{REPLACEMENT CHARACTER}b?")
    assert len(failure.details.encode()) <= 4096
    assert failure.details.endswith("é\n")


async def test_the_cause_of_a_task_error_is_in_its_details() -> None:
    def handler(input: Any) -> None:
        try:
            raise ConnectionError("reset by peer")
        except ConnectionError as error:
            raise TaskError("bank is away") from error

    assert "ConnectionError: reset by peer" in (await failure_of(handler)).details


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        ({"a": [1, {"b": object()}]}, "a dict holding a list holding a dict holding an object of type object"),
        (float("nan"), "the float nan"),
        ([float("inf")], "the float inf"),
        (b"bytes", "bytes"),
        ({(1, 2): 3}, "dict"),
    ],
)
async def test_an_output_that_is_no_json_fails_for_good_and_is_named(value: Any, named: str, kind: str) -> None:
    def thread(input: Any) -> Any:
        return value

    async def later(input: Any) -> Any:
        await asyncio.sleep(0 if kind == "later" else -1)
        return value

    failure = await failure_of(thread if kind == "thread" else later)
    assert (failure.code, failure.retryable) == ("INVALID_OUTPUT", False)
    assert named in failure.message


async def test_an_output_that_holds_itself_fails_for_good() -> None:
    loop: list[Any] = []
    loop.append(loop)
    failure = await failure_of(lambda input: loop)
    assert (failure.code, failure.retryable) == ("INVALID_OUTPUT", False)
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 100):
        deep = [deep]
    failure = await failure_of(lambda input: deep)
    assert (failure.code, failure.retryable) == ("INVALID_OUTPUT", False)


async def test_an_output_beyond_the_limit_is_not_even_sent() -> None:
    fake = FakeTransport(max_output_bytes=100)
    worker = Worker(transport=fake)
    worker.step("h")(lambda input: "x" * input)
    async with fake.serving(worker):
        assert len(await fake.run_task("h", 98)) == 98
        with pytest.raises(TaskFailed, match="101 bytes, allowed are 100") as failure:
            await fake.run_task("h", 99)
    assert (failure.value.code, failure.value.retryable) == ("OUTPUT_TOO_LARGE", False)


async def test_an_input_that_cannot_be_decoded_fails_for_good() -> None:
    fake = FakeTransport()
    worker = Worker(transport=fake)
    worker.step("thread")(lambda input: 1)

    @worker.step("loop")
    async def loop(input: Any) -> int:
        return 1

    async with fake.serving(worker):
        for name in ("thread", "loop"):
            with pytest.raises(TaskFailed, match="INVALID_INPUT") as failure:
                await fake.run_task(name, b"{nonsense")
            assert not failure.value.retryable


async def test_functions_of_a_flow_fail_alike(fake: FakeTransport) -> None:
    flow = Flow("f")

    @flow.step
    def broken(input: Any) -> None:
        raise LookupError("here")

    async with fake.serving(Worker(flow, transport=fake)):
        with pytest.raises(TaskFailed, match="LookupError: here"):
            await fake.run_task("f.broken")


class Bare(TaskError):
    """A child that forgot its parent's __init__."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TaskError("m", code=404, retryable=False), ("404", "m", False, None)),  # type: ignore[arg-type]
        (TaskError("m", retry_after_s="soon"), ("HANDLER_ERROR", "m", True, None)),  # type: ignore[arg-type]
        (TaskError("m", retry_after_s=float("nan")), ("HANDLER_ERROR", "m", True, 0)),
        (TaskError("m", retry_after_s=float("inf")), ("HANDLER_ERROR", "m", True, 604_800)),
        (Bare(), ("HANDLER_ERROR", "bare", True, None)),
    ],
    ids=str,
)
async def test_task_errors_that_are_none_still_end_their_task(
    error: TaskError, expected: tuple[object, ...], kind: str
) -> None:
    failure = await failure_of(raiser(error, kind))
    assert (failure.code, failure.message, failure.retryable, failure.retry_after_s) == expected


class Deceptive(dict[int, int]):
    """A dict that cannot be read."""

    def items(self) -> Any:
        """Nothing."""
        raise LookupError("gone")


async def test_an_output_that_raises_while_it_is_encoded_fails_its_task_alone(kind: str) -> None:
    loop: list[Any] = []
    loop.append(loop)
    worker = Worker(transport=(fake := FakeTransport()))
    outputs = {"gone": Deceptive({1: 2}), "loop": loop, "fine": 1}

    async def later(input: Any) -> Any:
        await asyncio.sleep(0)
        return outputs[input]

    async def at_once(input: Any) -> Any:
        return outputs[input]

    worker.step("h")({"thread": lambda input: outputs[input], "at_once": at_once, "later": later}[kind])
    async with fake.serving(worker):
        with pytest.raises(TaskFailed, match="INVALID_OUTPUT: the handler returned an object of type Deceptive"):
            await fake.run_task("h", "gone")
        with pytest.raises(TaskFailed, match="nested too deeply or holds itself"):
            await fake.run_task("h", "loop")
        assert await fake.run_task("h", "fine") == 1
