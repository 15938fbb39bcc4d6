"""WatchRun: changes become snapshots, broken streams go on, ends become results or errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from stepgres.v1 import common_pb2, run_pb2
from stepgres_worker import AsyncClient, NotFound, RunCancelled, RunFailed, Unavailable
from stepgres_worker.testing import FakeTransport

GONE = Unavailable("gone", code="UNAVAILABLE")
Frame = run_pb2.WatchRunResponse


def step(name: str, index: int, status: int, revision: int, **counts: int) -> run_pb2.StepState:
    return run_pb2.StepState(
        step=name,
        step_index=index,
        status=status,  # type: ignore[arg-type]
        revision=revision,
        counts=run_pb2.TaskCounts(**counts),
    )


SNAPSHOT = Frame(
    cursor="c1",
    snapshot=run_pb2.Run(
        run_id="r",
        flow="f",
        status=common_pb2.RUN_STATUS_STARTED,
        revision=1,
        step_count=2,
        steps=[step("a", 0, 2, 1, total=2, open=2), step("b", 1, 1, 1)],
    ),
)
CHANGE = Frame(
    cursor="c2",
    change=run_pb2.RunChange(
        status=common_pb2.RUN_STATUS_STARTED, revision=2, steps=[step("a", 0, 3, 2, total=2, completed=2)]
    ),
)
END = Frame(
    cursor="c3",
    end=run_pb2.Run(
        run_id="r",
        flow="f",
        status=common_pb2.RUN_STATUS_COMPLETED,
        revision=3,
        steps=[step("a", 0, 3, 2, total=2, completed=2), step("b", 1, 3, 3, total=1, completed=1)],
        output=b'{"b":[1.0]}',
    ),
)


def streams(*scripts: list[Frame | Exception]) -> tuple[Callable[[Any], AsyncGenerator[Frame, None]], list[str]]:
    """A watch for each call in turn; errors are raised where they stand. The cursors that were asked with."""
    cursors: list[str] = []
    left = list(scripts)

    async def watch(request: run_pb2.WatchRunRequest) -> AsyncGenerator[Frame, None]:
        cursors.append(request.cursor)
        for frame in left.pop(0):
            if isinstance(frame, Exception):
                raise frame
            yield frame

    return watch, cursors


def client_of(fake: FakeTransport, *scripts: list[Frame | Exception]) -> tuple[AsyncClient, list[str]]:
    watch, cursors = streams(*scripts)
    fake.answer_watch(watch)
    return AsyncClient(transport=fake), cursors


async def test_changes_are_merged_into_whole_snapshots(fake: FakeTransport) -> None:
    client, _ = client_of(fake, [SNAPSHOT, CHANGE, END])
    seen = [snap async for snap in client.watch("r")]
    assert [snap.status for snap in seen] == ["started", "started", "completed"]
    assert [snap.cursor for snap in seen] == ["c1", "c2", "c3"]
    assert [snap.steps["a"].counts.completed for snap in seen] == [0, 2, 2]
    assert [snap.steps["a"].status for snap in seen] == ["started", "completed", "completed"]
    assert seen[1].steps["b"].status == "created"
    assert (seen[1].remaining_steps, seen[1].revision) == (1, 2)
    assert seen[0].steps["a"].counts.completed == 0  # earlier snapshots stay as they were


async def test_a_broken_watch_goes_on_after_its_last_frame(fake: FakeTransport) -> None:
    client, cursors = client_of(fake, [GONE], [SNAPSHOT, GONE], [CHANGE], [END])
    seen = [snap.cursor async for snap in client.watch("r")]
    assert seen == ["c1", "c2", "c3"]
    assert cursors == ["", "", "c1", "c2"]


async def test_a_cursor_of_before_needs_no_snapshot_frame(fake: FakeTransport) -> None:
    client, cursors = client_of(fake, [CHANGE, END])
    fake.answer("GetRun", lambda request: run_pb2.GetRunResponse(run=SNAPSHOT.snapshot))
    seen = [snap async for snap in client.run("r").watch("c1")]
    assert cursors == ["c1"]
    assert [snap.revision for snap in seen] == [2, 3]
    assert seen[0].steps["b"].status == "created"


async def test_a_run_that_was_retried_has_lost_its_error(fake: FakeTransport) -> None:
    failed = run_pb2.Run()
    failed.CopyFrom(SNAPSHOT.snapshot)
    failed.status = common_pb2.RUN_STATUS_FAILED
    failed.error.code = "BROKEN"
    failed.end_time.seconds = 1
    client, _ = client_of(fake, [CHANGE, END])
    fake.answer("GetRun", lambda request: run_pb2.GetRunResponse(run=failed))
    first = await anext(client.run("r").watch("c1"))
    assert (first.status, first.error, first.end_time) == ("started", None, None)


async def test_a_change_older_than_the_snapshot_changes_nothing(fake: FakeTransport) -> None:
    stale = Frame(cursor="c0", change=run_pb2.RunChange(status=1, revision=1, steps=[step("a", 0, 2, 1, total=2)]))
    newer = run_pb2.Run()
    newer.CopyFrom(SNAPSHOT.snapshot)
    newer.revision = 5
    newer.steps[0].CopyFrom(step("a", 0, 3, 5, total=2, completed=2))
    client, _ = client_of(fake, [Frame(cursor="c5", snapshot=newer), stale, END])
    seen = [snap async for snap in client.watch("r")]
    assert seen[1].steps["a"].status == "completed"
    assert seen[1].revision == 5


async def test_refusals_are_raised(fake: FakeTransport) -> None:
    client, _ = client_of(fake, [NotFound("no run r")])
    with pytest.raises(NotFound):
        await client.run("r").result()


async def test_a_coordinator_that_stays_away_is_reported(fake: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepgres_worker._run.full_jitter_s", lambda *_args, **_options: 0.0)
    client, cursors = client_of(fake, *[[GONE]] * 20)
    with pytest.raises(Unavailable):
        await client.run("r").result()
    assert 5 < len(cursors) < 12


async def test_a_result_is_the_decoded_output(fake: FakeTransport) -> None:
    client, _ = client_of(fake, [SNAPSHOT, END])
    assert await client.run("r").result(timeout=10) == {"b": [1.0]}
    assert fake.calls[0][1].view == common_pb2.VIEW_FULL


def ended(status: int, error: run_pb2.RunError | None) -> Frame:
    return Frame(cursor="x", end=run_pb2.Run(run_id="r", status=status, error=error))  # type: ignore[arg-type]


async def test_a_failed_run_raises_with_all_it_knows(fake: FakeTransport) -> None:
    error = run_pb2.RunError(step="pay", code="BANK_BUSY", message="try later", attempt=3)
    client, _ = client_of(fake, [ended(common_pb2.RUN_STATUS_FAILED, error)])
    with pytest.raises(RunFailed, match="run r failed in step pay: BANK_BUSY: try later") as failure:
        await client.run("r").result()
    assert (failure.value.run_id, failure.value.step, failure.value.code) == ("r", "pay", "BANK_BUSY")


async def test_a_cancelled_run_raises(fake: FakeTransport) -> None:
    client, _ = client_of(fake, [ended(common_pb2.RUN_STATUS_CANCELLED, run_pb2.RunError(message="too dear"))])
    with pytest.raises(RunCancelled, match="too dear"):
        await client.run("r").result()


async def test_waiting_has_an_end_and_the_run_goes_on(fake: FakeTransport) -> None:
    closed = asyncio.Event()

    async def watch(_request: run_pb2.WatchRunRequest) -> AsyncGenerator[Frame, None]:
        try:
            yield SNAPSHOT
            await asyncio.Event().wait()
        finally:
            closed.set()

    fake.answer_watch(watch)
    with pytest.raises(TimeoutError, match=r"run r has not ended within 0\.01 s; it goes on"):
        await AsyncClient(transport=fake).run("r").result(timeout=0.01)
    assert closed.is_set()
    assert [name for name, _ in fake.calls] == ["WatchRun"]
