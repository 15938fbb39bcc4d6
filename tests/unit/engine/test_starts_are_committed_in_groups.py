"""Starts of many callers become few transactions; what fails one fails no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest

from stepgres_service.engine import run_starts
from stepgres_service.engine.run_starts import RunStarts, Started
from stepgres_service.errors import InvalidArgument, NotFound, Reason, ResourceExhausted, StepgresError, Unavailable
from stepgres_service.store.lane import BatchRefused, LaneBusy, LaneDown
from stepgres_service.store.runs import RunStart, StartedBatch, StartVerdict


def start(flow: str = "f", **fields: Any) -> RunStart:
    return RunStart(**{"run_id": uuid4(), "flow": flow, "version": 0, "input": b"{}", **fields})


def created(starts: Sequence[RunStart]) -> StartedBatch:
    return StartedBatch([StartVerdict(s.run_id, "created", None, 1, "started") for s in starts], [7], {})


class Store:
    """Answers start_runs by a function of the batch; counts the batches."""

    def __init__(self, answer: Callable[[Sequence[RunStart]], StartedBatch] = created) -> None:
        self.answer = answer
        self.batches: list[list[RunStart]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def start_runs(self, starts: Sequence[RunStart], read: Sequence[bool]) -> StartedBatch:
        self.batches.append(list(starts))
        await self.gate.wait()
        return self.answer(starts)


def starter(store: Store, woken: list[Sequence[int]] | None = None) -> RunStarts:
    woken = [] if woken is None else woken
    return RunStarts(store, woken.append, lambda: woken.append("everything"))  # type: ignore[arg-type]


async def one(starts: RunStarts, item: RunStart) -> Started | StepgresError:
    return (await starts.start([item], read=False))[0]


async def test_a_lone_start_goes_out_at_once_and_wakes_its_routes() -> None:
    store, woken = Store(), list[Sequence[int]]()
    item = start()
    assert await one(starter(store, woken), item) == Started(item.run_id, True, None)
    assert woken == [[7]]


async def test_what_comes_during_a_transaction_is_the_next_one() -> None:
    store = Store()
    store.gate.clear()
    starts = starter(store)
    calls = [asyncio.create_task(one(starts, start()))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls += [asyncio.create_task(one(starts, start())) for _ in range(50)]
    await asyncio.sleep(0)
    store.gate.set()
    outcomes = await asyncio.gather(*calls)
    assert [len(batch) for batch in store.batches] == [1, 50]
    assert all(isinstance(outcome, Started) for outcome in outcomes)


async def test_a_batch_is_bounded_by_runs_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    starts = starter(store)
    await starts.start([start() for _ in range(2500)], read=False)
    assert [len(batch) for batch in store.batches] == [1000, 1000, 500]
    store.batches.clear()
    await starts.start([start(input=b"1" * (3 << 20)) for _ in range(5)], read=False)
    assert [len(batch) for batch in store.batches] == [2, 2, 1]
    monkeypatch.setattr(run_starts, "_MAX_BATCH_BYTES", 10)
    store.batches.clear()
    await starts.start([start(input=b"1" * 20), start(input=b"1" * 20)], read=False)
    assert [len(batch) for batch in store.batches] == [1, 1]


async def test_outcomes_come_back_in_the_order_of_the_call() -> None:
    def some_refused(starts: Sequence[RunStart]) -> StartedBatch:
        verdicts = [
            StartVerdict(None, "unknown_flow", None, None, None)
            if s.flow == "missing"
            else StartVerdict(s.run_id, "created", None, 1, "started")
            for s in starts
        ]
        return StartedBatch(verdicts, (), {})

    items = [start("z", idempotency_key="b"), start("missing"), start("a", idempotency_key="a")]
    outcomes = await starter(Store(some_refused)).start(items, read=False)
    assert outcomes[0] == Started(items[0].run_id, True, None)
    assert isinstance(outcomes[1], NotFound)
    assert outcomes[2] == Started(items[2].run_id, True, None)


async def test_keys_go_out_in_order_so_that_two_coordinators_do_not_wait_in_a_circle() -> None:
    store = Store()
    await starter(store).start([start(idempotency_key=key) for key in ("c", "a", "b")], read=False)
    assert [item.idempotency_key for item in store.batches[0]] == ["a", "b", "c"]


async def test_a_value_that_the_database_refuses_fails_alone() -> None:
    def refuse_bad(starts: Sequence[RunStart]) -> StartedBatch:
        if any(s.input == b"bad" for s in starts):
            raise BatchRefused("invalid input syntax")
        return created(starts)

    items = [start() for _ in range(37)]
    items[23] = start(input=b"bad")
    outcomes = await starter(Store(refuse_bad)).start(items, read=False)
    assert [position for position, outcome in enumerate(outcomes) if not isinstance(outcome, Started)] == [23]
    refusal = outcomes[23]
    assert isinstance(refusal, InvalidArgument)
    assert (refusal.field, refusal.reason) == ("input", Reason.INVALID_JSON)


async def test_a_conflict_is_tried_again() -> None:
    failures = [LaneBusy("deadlock detected"), LaneBusy("deadlock detected")]

    def conflict_twice(starts: Sequence[RunStart]) -> StartedBatch:
        if failures:
            raise failures.pop()
        return created(starts)

    assert isinstance(await one(starter(Store(conflict_twice)), start()), Started)


async def test_a_broken_commit_is_sent_again_with_the_same_ids_and_counts_as_created() -> None:
    attempts: list[Sequence[RunStart]] = []

    def broken_once(starts: Sequence[RunStart]) -> StartedBatch:
        attempts.append(list(starts))
        if len(attempts) == 1:
            raise LaneDown("server closed the connection")
        return StartedBatch([StartVerdict(s.run_id, "existing", None, 1, "started") for s in starts], (), {})

    item = start(idempotency_key="k")
    assert await one(starter(Store(broken_once)), item) == Started(item.run_id, True, None)
    assert attempts[0] == attempts[1]


async def test_while_the_database_is_away_everybody_hears_of_it_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_starts, "_GIVE_UP_S", 0.2)

    def away(starts: Sequence[RunStart]) -> StartedBatch:
        raise Unavailable("no connection", reason=Reason.DATABASE_UNAVAILABLE)

    starts = starter(Store(away))
    async with asyncio.timeout(2):
        outcomes = await asyncio.gather(*(one(starts, start()) for _ in range(20)))
    assert all(isinstance(outcome, Unavailable) and outcome.retry_after_s for outcome in outcomes)


async def test_a_fault_of_ours_reaches_the_callers_and_the_next_start_works() -> None:
    def fault(starts: Sequence[RunStart]) -> StartedBatch:
        raise ZeroDivisionError

    store = Store(fault)
    starts = starter(store)
    outcome = await one(starts, start())
    assert isinstance(outcome, StepgresError)
    assert outcome.reason is Reason.INTERNAL
    store.answer = created
    assert isinstance(await one(starts, start()), Started)


async def test_starts_of_callers_that_went_away_are_not_made() -> None:
    store = Store()
    store.gate.clear()
    starts = starter(store)
    first = asyncio.create_task(one(starts, start()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone = asyncio.create_task(one(starts, start("gone")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    store.gate.set()
    await first
    await one(starts, start())
    assert "gone" not in {item.flow for batch in store.batches for item in batch}


async def test_no_more_bytes_wait_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_starts, "_MAX_WAITING_BYTES", 100)
    store = Store()
    store.gate.clear()
    starts = starter(store)
    calls = [asyncio.create_task(one(starts, start(input=b"1" * 90)))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls += [asyncio.create_task(one(starts, start(input=b"1" * 90)))]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as refusal:
        await starts.start([start(input=b"1" * 90)], read=False)
    assert (refusal.value.reason, refusal.value.retry_after_s) == (Reason.OVERLOADED, 1.0)
    store.gate.set()
    await asyncio.gather(*calls)
