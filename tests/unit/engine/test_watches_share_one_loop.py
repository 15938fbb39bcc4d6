"""The watch hub against a store in memory: what readers see, how often the database is asked, and who is cleaned up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from stepgres_service.engine import watch as watch_module
from stepgres_service.engine.cursors import encode_cursor
from stepgres_service.engine.watch import WatchHub
from stepgres_service.engine.watched import FrameKind, WatchFrame
from stepgres_service.errors import InvalidArgument, NotFound, Reason, StepgresError, Unavailable
from stepgres_service.model import Run, RunStatus, StepState, StepStatus, StepType, TaskCounts
from stepgres_service.store.run_changes import ChangedRun, StepChange

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_step(index: int) -> StepState:
    counts = TaskCounts(total=10, open=10, completed=0, failed=0, cancelled=0)
    return StepState(f"s{index}", index, StepType.MAP, StepStatus.STARTED, counts, 0, 1, unserved=True)


class Store:
    """Runs in memory."""

    system_id = "db"

    def __init__(self, count: int = 1) -> None:
        self.runs = {
            run_id: Run(run_id, "f", 1, RunStatus.STARTED, 1, 2, 2, NOW, steps=(a_step(0), a_step(1)))
            for run_id in (uuid4() for _ in range(count))
        }
        self.ids = list(self.runs)
        self.reads = 0
        self.loads = 0
        self.error: Exception | None = None
        self.load_gate = asyncio.Event()
        self.load_gate.set()

    async def get_run(self, run_id: UUID, *, full: bool, step_outputs: bool = False) -> tuple[Run, int] | None:
        self.loads += 1
        await self.load_gate.wait()
        if self.error is not None:
            raise self.error
        run = self.runs.get(run_id)
        if run is None:
            return None
        return (replace(run, input="{}", output='{"s1":1}') if full else run), 10

    async def changed_runs(self, known: Iterable[tuple[UUID, int]]) -> tuple[list[ChangedRun], list[UUID]]:
        await asyncio.sleep(0)
        # Counted when it looks: a read counted before would still see what changes after it was counted.
        self.reads += 1
        if self.error is not None:
            raise self.error
        changed, gone = [], []
        for run_id, revision in known:
            run = self.runs.get(run_id)
            if run is None:
                gone.append(run_id)
            elif run.revision != revision:
                steps = tuple(
                    StepChange(s.step_index, s.status, s.counts, 0, s.revision, None, None)
                    for s in run.steps
                    if s.revision > revision
                )
                changed.append(ChangedRun(run_id, run.status, run.revision, 2, run.completed_at, None, steps))
        return changed, gone

    def change(self, run_id: UUID, step: int = 0, status: RunStatus = RunStatus.STARTED) -> None:
        run = self.runs[run_id]
        steps = list(run.steps)
        done = steps[step].counts.completed + 1
        counts = TaskCounts(total=10, open=10 - done, completed=done, failed=0, cancelled=0)
        steps[step] = replace(steps[step], counts=counts, revision=run.revision + 1)
        self.runs[run_id] = replace(run, status=status, revision=run.revision + 1, steps=tuple(steps))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def hub(store: Store) -> AsyncIterator[WatchHub]:
    hub = WatchHub(store)  # type: ignore[arg-type]
    yield hub
    await hub.stop()
    assert not hub._runs


class Reader:
    """Collects the frames of a watch."""

    def __init__(self, hub: WatchHub, run_id: UUID, cursor: str = "", *, full: bool = False) -> None:
        self.frames: list[WatchFrame] = []
        self.times: list[float] = []
        self._came = asyncio.Event()
        self.task = asyncio.create_task(self._read(hub.watch(run_id, cursor, full=full)))

    async def _read(self, frames: AsyncIterator[WatchFrame]) -> None:
        async for frame in frames:
            self.frames.append(frame)
            self.times.append(asyncio.get_running_loop().time())
            self._came.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._came.clear()
                await self._came.wait()

    @property
    def kinds(self) -> list[FrameKind]:
        return [frame.kind for frame in self.frames]


async def test_a_watch_is_a_snapshot_changes_and_the_end(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    assert len(reader.frames[0].run.steps) == 2
    assert not any(step.unserved for step in reader.frames[0].run.steps)  # only GetRun tells
    store.change(run_id, 1)
    hub.touch([run_id.bytes])
    await reader.until(lambda: len(reader.frames) == 2)
    assert [step.step for step in reader.frames[1].changed] == ["s1"]
    store.change(run_id, 0, RunStatus.COMPLETED)
    hub.touch([run_id.bytes], ended=True)
    await reader.task
    assert reader.kinds == [FrameKind.SNAPSHOT, FrameKind.CHANGE, FrameKind.END]
    assert [step.counts.completed for step in reader.frames[2].run.steps] == [1, 1]
    assert reader.frames[2].run.output is None


async def test_the_first_change_and_the_end_come_at_once(
    store: Store, hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What came only with a tick, or after the pace of changes, would come in an hour.
    for wait in ("_TICK_S", "_QUIET_S"):
        monkeypatch.setattr(watch_module, wait, 3600.0)
    monkeypatch.setattr(watch_module, "_REST", 0.0)
    run_id = store.ids[0]
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    store.change(run_id)
    hub.touch([run_id.bytes])
    await reader.until(lambda: len(reader.frames) == 2)
    store.change(run_id, status=RunStatus.FAILED)
    hub.touch([run_id.bytes], ended=True)
    async with asyncio.timeout(5):
        await reader.task


async def test_what_nobody_announces_is_found_by_the_tick(store: Store, hub: WatchHub) -> None:
    reader = Reader(hub, store.ids[0])
    await reader.until(lambda: reader.frames)
    store.change(store.ids[0], status=RunStatus.CANCELLED)
    async with asyncio.timeout(5):
        await reader.task


async def test_many_changes_merge_into_few_frames_and_the_last_state_is_there(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    for number in range(200):
        store.change(run_id, number % 2)
        hub.touch([run_id.bytes])
        await asyncio.sleep(0.005)
    store.change(run_id, status=RunStatus.COMPLETED)
    hub.touch([run_id.bytes], ended=True)
    await reader.task
    for first, time in enumerate(reader.times):
        assert sum(time <= other < time + 1 for other in reader.times[first:]) <= 10
    assert len(reader.frames) >= 5
    assert reader.frames[-1].run.revision == 202


async def test_a_cursor_brings_only_what_changed_since(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    store.change(run_id, 0)
    cursor = encode_cursor(run_id, 2, "db")
    store.change(run_id, 1)
    reader = Reader(hub, run_id, cursor)
    await reader.until(lambda: reader.frames)
    assert reader.kinds == [FrameKind.CHANGE]
    assert [step.step for step in reader.frames[0].changed] == ["s1"]
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)


async def test_a_cursor_at_the_end_brings_the_end(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    store.change(run_id, status=RunStatus.COMPLETED)
    reader = Reader(hub, run_id, encode_cursor(run_id, 2, "db"), full=True)
    await reader.task
    assert reader.kinds == [FrameKind.END]
    assert (reader.frames[0].run.input, reader.frames[0].run.output) == ("{}", '{"s1":1}')


async def test_a_cursor_ahead_of_this_coordinator_is_believed_when_the_database_agrees(
    store: Store, hub: WatchHub
) -> None:
    run_id = store.ids[0]
    behind = Reader(hub, run_id)
    await behind.until(lambda: behind.frames)
    store.change(run_id)
    ahead = Reader(hub, run_id, encode_cursor(run_id, 2, "db"))
    await asyncio.sleep(0.15)
    assert not ahead.frames
    store.change(run_id, status=RunStatus.COMPLETED)
    hub.touch([run_id.bytes])
    await asyncio.gather(ahead.task, behind.task)
    assert ahead.kinds == [FrameKind.END]


async def test_a_cursor_from_a_lost_future_is_refused(store: Store, hub: WatchHub) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await Reader(hub, store.ids[0], encode_cursor(store.ids[0], 99, "db")).task
    assert refusal.value.reason is Reason.INVALID_CURSOR


async def test_a_watch_ends_when_the_database_was_set_back(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    before = store.runs[run_id]
    store.change(run_id)
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    store.runs[run_id] = before
    with pytest.raises(InvalidArgument) as refusal:
        await reader.task
    assert refusal.value.reason is Reason.INVALID_CURSOR
    again = Reader(hub, run_id)
    await again.until(lambda: again.frames)
    assert again.frames[0].run.revision == before.revision
    again.task.cancel()
    await asyncio.gather(again.task, return_exceptions=True)


async def test_an_older_answer_that_comes_late_ends_no_watch(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    store.change(run_id)
    older, _ = await store.changed_runs([(run_id, 1)])
    store.change(run_id)
    newer, _ = await store.changed_runs([(run_id, 1)])
    hub.take(newer)
    hub.take(older)
    store.change(run_id, status=RunStatus.COMPLETED)
    hub.touch([run_id.bytes], ended=True)
    await reader.task
    assert reader.frames[-1].run.revision == 4


async def test_reads_rest_although_changes_are_due(
    store: Store, hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read takes 10 ms and is followed by a rest of 40, whatever there is to publish meanwhile."""
    store = Store(50)
    monkeypatch.setattr(hub, "_store", store)
    real = store.changed_runs

    async def slowly(known: Iterable[tuple[UUID, int]]) -> Any:
        await asyncio.sleep(0.01)
        return await real(known)

    monkeypatch.setattr(store, "changed_runs", slowly)
    readers = [Reader(hub, run_id) for run_id in store.ids]
    for reader in readers:
        await reader.until(lambda reader=reader: reader.frames)
    clock = asyncio.get_running_loop().time
    begun, reads = clock(), store.reads
    while clock() - begun < 1:
        for run_id in store.ids:
            store.change(run_id)
            hub.touch([run_id.bytes])
            await asyncio.sleep(0.001)
    assert store.reads - reads <= (clock() - begun) / 0.05 + 2
    for run_id in store.ids:
        store.change(run_id, status=RunStatus.COMPLETED)
    await asyncio.gather(*(reader.task for reader in readers))


async def test_readers_at_the_same_revision_get_the_same_frame(store: Store, hub: WatchHub) -> None:
    readers = [Reader(hub, store.ids[0]) for _ in range(3)]
    for reader in readers:
        await reader.until(lambda reader=reader: reader.frames)
    store.change(store.ids[0], status=RunStatus.COMPLETED)
    await asyncio.gather(*(reader.task for reader in readers))
    assert len({id(reader.frames[0]) for reader in readers}) == 1
    assert len({id(reader.frames[-1]) for reader in readers}) == 1


async def test_a_thousand_readers_of_ten_runs_cost_what_ten_readers_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    # No ticks, no rests: they would count how long this machine took.
    monkeypatch.setattr(watch_module, "_TICK_S", 3600.0)
    monkeypatch.setattr(watch_module, "_REST", 0.0)

    async def cost(readers_of_a_run: int) -> tuple[int, int]:
        store = Store(10)
        hub = WatchHub(store)  # type: ignore[arg-type]
        readers = [Reader(hub, run_id, full=True) for run_id in store.ids for _ in range(readers_of_a_run)]
        for reader in readers:
            await reader.until(lambda reader=reader: reader.frames)
        for status in (*[RunStatus.STARTED] * 20, RunStatus.COMPLETED):
            for run_id in store.ids:
                store.change(run_id, status=status)
            hub.touch([run_id.bytes for run_id in store.ids], ended=True)
            reads = store.reads
            async with asyncio.timeout(5):
                while store.reads == reads:
                    await asyncio.sleep(0.001)
        await asyncio.gather(*(reader.task for reader in readers))
        await hub.stop()
        return store.loads, store.reads

    loads, reads = await cost(1)
    many_loads, many_reads = await cost(100)
    assert many_loads == loads == 20  # a snapshot and the payloads of each run
    assert many_reads <= reads * 1.1


async def test_a_transaction_that_reads_what_it_changed_spares_the_loop_its_read(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    assert hub.due([run_id.bytes, uuid4().bytes, run_id.bytes]) == [(run_id, 1)]
    store.change(run_id, 1)
    store.change(run_id, 0, RunStatus.COMPLETED)
    changed, _ = await store.changed_runs([(run_id, 1)])
    reads = store.reads
    hub.take(changed)
    hub.touch([run_id.bytes], ended=True)
    await reader.task
    assert reader.kinds == [FrameKind.SNAPSHOT, FrameKind.END]
    assert [step.counts.completed for step in reader.frames[1].run.steps] == [1, 1]
    assert store.reads == reads
    assert hub.due([run_id.bytes]) == ()


async def test_what_a_transaction_has_read_waits_for_the_first_state(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    store.load_gate.clear()
    before = store.runs[run_id]
    reader = Reader(hub, run_id)
    while not store.loads:
        await asyncio.sleep(0)
    assert hub.due([run_id.bytes]) == [(run_id, 0)]
    store.change(run_id, 0, RunStatus.COMPLETED)
    changed, _ = await store.changed_runs([(run_id, 0)])
    store.runs[run_id] = before  # as a statement sees it that began earlier
    hub.take(changed)
    store.load_gate.set()
    await reader.task
    assert reader.kinds == [FrameKind.SNAPSHOT, FrameKind.END]
    assert {frame.run.status for frame in reader.frames} == {RunStatus.COMPLETED}


async def test_a_transaction_reads_few_watched_runs_and_leaves_many_to_the_loop() -> None:
    store = Store(9)
    hub = WatchHub(store)  # type: ignore[arg-type]
    readers = [Reader(hub, run_id) for run_id in store.ids]
    for reader in readers:
        await reader.until(lambda reader=reader: reader.frames)
    keys = [run_id.bytes for run_id in store.ids]
    assert len(hub.due(keys[:8])) == 8
    assert hub.due(keys) == ()
    await hub.stop()
    await asyncio.gather(*(reader.task for reader in readers), return_exceptions=True)


async def test_nothing_runs_while_nothing_is_watched(store: Store, hub: WatchHub) -> None:
    hub.touch([store.ids[0].bytes])
    reader = Reader(hub, store.ids[0])
    await reader.until(lambda: reader.frames)
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)
    await asyncio.sleep(0.25)
    reads = store.reads
    await asyncio.sleep(0.25)
    assert store.reads == reads
    assert hub._task is not None
    assert hub._task.done()


async def test_a_reader_that_goes_away_while_the_state_loads_takes_it_from_nobody(store: Store, hub: WatchHub) -> None:
    store.load_gate.clear()
    first, second = Reader(hub, store.ids[0]), Reader(hub, store.ids[0])
    await asyncio.sleep(0.01)
    first.task.cancel()
    await asyncio.sleep(0.01)
    store.load_gate.set()
    await second.until(lambda: second.frames)
    assert store.loads == 1
    second.task.cancel()
    await asyncio.gather(first.task, second.task, return_exceptions=True)


async def test_an_unknown_run_is_not_found(hub: WatchHub) -> None:
    with pytest.raises(NotFound):
        await Reader(hub, uuid4()).task


async def test_a_run_that_goes_with_its_flow_ends_its_watches_alone() -> None:
    store = Store(2)
    hub = WatchHub(store)  # type: ignore[arg-type]
    gone, kept = Reader(hub, store.ids[0]), Reader(hub, store.ids[1])
    await gone.until(lambda: gone.frames)
    await kept.until(lambda: kept.frames)
    del store.runs[store.ids[0]]
    with pytest.raises(NotFound):
        await gone.task
    store.change(store.ids[1], status=RunStatus.COMPLETED)
    await kept.task
    await hub.stop()


async def test_a_short_outage_is_bridged(store: Store, hub: WatchHub) -> None:
    reader = Reader(hub, store.ids[0])
    await reader.until(lambda: reader.frames)
    store.error = Unavailable("away", reason=Reason.DATABASE_UNAVAILABLE, retry_after_s=1.0)
    await asyncio.sleep(0.3)
    store.error = None
    store.change(store.ids[0], status=RunStatus.COMPLETED)
    await reader.task


async def test_a_long_outage_ends_the_watch_with_a_time_to_try_again(
    store: Store, hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_GIVE_UP_S", 0.2)
    readers = [Reader(hub, store.ids[0]) for _ in range(2)]
    for reader in readers:
        await reader.until(lambda reader=reader: reader.frames)
    store.error = Unavailable("away", reason=Reason.DATABASE_UNAVAILABLE, retry_after_s=1.0)
    for reader in readers:
        with pytest.raises(Unavailable) as refusal:
            async with asyncio.timeout(2):
                await reader.task
        assert refusal.value.retry_after_s == 1.0


async def test_a_fault_of_ours_ends_the_watch_rather_than_silence(store: Store, hub: WatchHub) -> None:
    reader = Reader(hub, store.ids[0])
    await reader.until(lambda: reader.frames)
    store.error = ZeroDivisionError()
    with pytest.raises(StepgresError) as refusal:
        await reader.task
    assert refusal.value.reason is Reason.INTERNAL


async def test_stopping_sends_the_readers_elsewhere(store: Store, hub: WatchHub) -> None:
    reader = Reader(hub, store.ids[0])
    await reader.until(lambda: reader.frames)
    await hub.stop()
    with pytest.raises(Unavailable) as refusal:
        await reader.task
    assert refusal.value.reason is Reason.DRAINING
    with pytest.raises(Unavailable):
        await Reader(hub, store.ids[0]).task


async def test_a_run_that_is_retried_after_its_end_is_read_afresh(store: Store, hub: WatchHub) -> None:
    run_id = store.ids[0]
    store.change(run_id, status=RunStatus.FAILED)
    await Reader(hub, run_id).task
    store.change(run_id, status=RunStatus.STARTED)
    reader = Reader(hub, run_id)
    await reader.until(lambda: reader.frames)
    assert reader.frames[0].run.status is RunStatus.STARTED
    reader.task.cancel()
    await asyncio.gather(reader.task, return_exceptions=True)
