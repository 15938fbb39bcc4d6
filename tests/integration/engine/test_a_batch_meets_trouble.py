"""What one item, one lease or one locked run does to those beside it in the group commit: nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Collection
from typing import Any

import grpc
import psycopg
import pytest
import structlog

from stepgres.v1 import common_pb2, worker_pb2
from stepgres_service.engine.results import Outcome, TaskResult
from stepgres_service.server import Coordinator
from stepgres_service.store.tasks import TaskStore
from tests.integration.conftest import channel_to
from tests.support.flows import define, ended_run, eventually, get_task, run_status, start_run, start_runs
from tests.support.raw_worker import RawWorker, raw_worker

RECORDED = worker_pb2.ACK_VERDICT_RECORDED
STALE = worker_pb2.ACK_VERDICT_STALE
REJECTED = worker_pb2.ACK_VERDICT_REJECTED
BUSY = worker_pb2.ACK_VERDICT_BUSY

Conn = psycopg.AsyncConnection[tuple[Any, ...]]


async def execute(conn: Conn, *statements: str) -> None:
    """Runs statements that a test writes out."""
    for statement in statements:
        await conn.execute(statement.encode())


async def forbid(conn: Conn, *, when: str, state: str = "23514") -> None:
    """Lets the database refuse an update of step_tasks; the word of a user's own trigger."""
    await execute(
        conn,
        f"create function public.forbid() returns trigger language plpgsql as $$ begin"
        f" raise exception 'forbidden' using errcode = '{state}'; end $$",
        f"create trigger forbid before update on pgflow.step_tasks for each row when ({when}) execute function public.forbid()",
    )


async def acks_of(worker: RawWorker, count: int) -> dict[bytes, worker_pb2.Ack]:
    """The next verdicts by token."""
    return {ack.token: ack for ack in await worker.take_acks(count)}


async def test_an_output_that_only_the_database_refuses_fails_alone(
    coordinator: Coordinator, channel: grpc.aio.Channel, conn: Conn
) -> None:
    await define(channel, "one", work=[])
    await execute(
        conn, "alter table pgflow.step_states add constraint poison check (output is null or output::text <> '\"bad\"')"
    )
    async with raw_worker(channel, ["one.work"], credits=40) as worker:
        await start_runs(channel, "one", 60)
        tasks = await worker.take_tasks(40)
        results = [
            worker_pb2.Result(token=task.token, completed=worker_pb2.Completed(output=b'"bad"' if n == 17 else b"1"))
            for n, task in enumerate(tasks)
        ]
        worker.send(result_batch=worker_pb2.ResultBatch(results=results))
        worker.grant(20)
        acks = await acks_of(worker, 40)
        bad = acks.pop(tasks[17].token)
        assert (bad.verdict, bad.reason) == (REJECTED, common_pb2.ERROR_REASON_INVALID_OUTPUT)
        assert {ack.verdict for ack in acks.values()} == {RECORDED}
        worker.complete(*await worker.take_tasks(20))
        await worker.take_acks(20)
        run = await ended_run(channel, tasks[17].run_id)
        assert (run.error.code, run.error.attempt) == ("INVALID_OUTPUT", 1)
    assert coordinator.engine.completions.held_bytes == 0


@pytest.mark.tampers
async def test_a_lease_that_fails_harms_neither_results_nor_the_other_handlers(
    channel: grpc.aio.Channel, conn: Conn
) -> None:
    await define(channel, "good", work=[])
    await define(channel, "bad", work=[])
    run_id = await start_run(channel, "bad")
    cursor = await conn.execute("select r.queue_id, r.route_id from pgflow.routes as r where r.handler = 'bad.work'")
    row = await cursor.fetchone()
    assert row is not None
    queue_id, route_id = row
    foreign = json.dumps({"k": route_id, "r": "no run", "s": 0, "i": 0})
    async with raw_worker(channel, ["good.work", "bad.work"], credits=10) as worker:
        (task,) = await worker.take_tasks(1)
        assert task.run_id == run_id
        await conn.execute("select pgmq.send(%s, %s::jsonb)", (f"pgflow_{queue_id}", foreign))
        # Its start wakes the handler with the foreign message; the result travels beside the lease of both.
        await start_run(channel, "bad")
        worker.complete(task)
        assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
        for _ in range(5):
            good_id = await start_run(channel, "good")
            run_id = ""
            while run_id != good_id:
                # A second lane may get past the foreign message while the first one holds it.
                (task,) = await worker.take_tasks(1)
                run_id = task.run_id
                worker.complete(task)
                assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]


async def test_a_run_that_somebody_has_locked_holds_up_no_other(channel: grpc.aio.Channel, database: str) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=50) as worker:
        await start_runs(channel, "one", 50)
        tasks = await worker.take_tasks(50)
        locked = {tasks[3].run_id, tasks[44].run_id}
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.runs where run_id = any(%s::uuid[]) for update", (sorted(locked),))
            worker.complete(*tasks)
            assert {ack.verdict for ack in (await acks_of(worker, 48)).values()} == {RECORDED}
            # What comes later does not wait either, though the locked ones are tried again and again.
            worker.grant(20)
            await start_runs(channel, "one", 20)
            later = await worker.take_tasks(20)
            worker.complete(*later)
            assert {ack.verdict for ack in (await acks_of(worker, 20)).values()} == {RECORDED}
            await holder.rollback()
        acks = await acks_of(worker, 2)
        assert {ack.verdict for ack in acks.values()} == {RECORDED}
        assert {task.run_id for task in tasks if task.token in acks} == locked


async def test_a_hundred_locked_runs_hold_up_no_other(channel: grpc.aio.Channel, database: str) -> None:
    await define(channel, "many", work=[])
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["many.work"], credits=100) as worker, raw_worker(channel, ["one.work"]) as other:
        await start_runs(channel, "many", 100)
        tasks = await worker.take_tasks(100)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            # As a DeleteFlow does that cancels its runs.
            await holder.execute("select from pgflow.runs for update")
            worker.complete(*tasks)
            for _ in range(5):
                run_id = await start_run(channel, "one")
                other.grant(1)
                (task,) = await other.take_tasks(1)
                assert task.run_id == run_id
                other.complete(task)
                assert [ack.verdict for ack in await other.take_acks(1)] == [RECORDED]
            assert worker.acks == []
            await holder.rollback()
        assert {ack.verdict for ack in (await acks_of(worker, 100)).values()} == {RECORDED}


async def test_a_run_that_others_have_locked_in_turn_does_not_wait_aside(
    channel: grpc.aio.Channel, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(channel, "one", work=[])
    transactions = itertools.count(1)

    async def locked_runs(self: TaskStore, conn: Any, run_ids: Collection[bytes]) -> dict[bytes, int]:
        return {run_id: next(transactions) for run_id in run_ids}

    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        run_id = await start_run(channel, "one")
        tasks = await worker.take_tasks(1)
        monkeypatch.setattr(TaskStore, "locked_runs", locked_runs)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.runs where run_id = %s for update", (run_id,))
            with structlog.testing.capture_logs() as logs:
                worker.complete(*tasks)
                async with asyncio.timeout(10):
                    while not any("cannot be recorded" in line["event"] for line in logs):
                        await asyncio.sleep(0.01)
            await holder.rollback()
        assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]


async def test_what_comes_of_a_locked_run_meanwhile_waits_with_nobody(
    channel: grpc.aio.Channel, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(channel, "map", maps=["work"], work=[])
    patient: list[bool] = []
    real = TaskStore.exchange

    async def exchange(self: TaskStore, conn: Any, results: Any, requests: Any, **options: Any) -> Any:
        if results is not None:
            patient.append(options["patient"])
        return await real(self, conn, results, requests, **options)

    monkeypatch.setattr(TaskStore, "exchange", exchange)
    async with raw_worker(channel, ["map.work"], credits=300) as worker:
        run_id = await start_run(channel, "map", list(range(300)))
        tasks = await worker.take_tasks(300)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.runs where run_id = %s for update", (run_id,))
            with structlog.testing.capture_logs() as logs:
                worker.complete(tasks[0])
                async with asyncio.timeout(10):
                    while not any("cannot be recorded" in line["event"] for line in logs):
                        await asyncio.sleep(0.01)
            assert patient == [True]
            for task in tasks[1:]:
                worker.complete(task)
                await asyncio.sleep(0.01)
            assert True not in patient[1:]
            await holder.rollback()
        assert {ack.verdict for ack in (await acks_of(worker, 300)).values()} == {RECORDED}


async def test_what_waits_for_a_locked_run_leaves_room_for_others(
    start_coordinator: Callable[..., Any], database: str
) -> None:
    async with start_coordinator(max_held_bytes=1 << 20) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "map", maps=["work"], work=[])
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["map.work", "one.work"], credits=8) as worker:
            run_id = await start_run(channel, "map", list(range(8)))
            tasks = await worker.take_tasks(8)
            async with await psycopg.AsyncConnection.connect(database) as holder:
                await holder.execute("select from pgflow.runs where run_id = %s for update", (run_id,))
                worker.complete(*tasks, output=b'"' + b"x" * (200 << 10) + b'"')
                busy = await worker.take_acks(7)
                assert {ack.verdict for ack in busy} == {BUSY}
                await start_run(channel, "one")
                worker.grant(1)
                (task,) = await worker.take_tasks(1)
                worker.complete(task)
                assert [(ack.token, ack.verdict) for ack in await worker.take_acks(1)] == [(task.token, RECORDED)]
                await holder.rollback()
            assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
            worker.complete(*(task for task in tasks if task.token in {ack.token for ack in busy}))
            assert {ack.verdict for ack in await worker.take_acks(7)} == {RECORDED}
            assert await run_status(channel, run_id) == "COMPLETED"
        assert coordinator.engine.completions.held_bytes == 0


async def test_a_task_that_is_on_its_way_back_waits_there_once(
    coordinator: Coordinator, channel: grpc.aio.Channel
) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        completions = coordinator.engine.completions
        (session,) = coordinator.engine.dispatcher.sessions.values()

        def undelivered() -> None:
            completions.add([TaskResult(session, task.token, Outcome.UNDELIVERED, acknowledge=False)])

        undelivered()
        held = completions.held_bytes
        assert held > 0
        undelivered()
        assert completions.held_bytes == held
        worker.grant(1)
        (again,) = await worker.take_tasks(1)
        assert again.run_id == task.run_id
        assert completions.held_bytes == 0
        undelivered()  # it may come again
        assert completions.held_bytes == held


async def test_a_task_that_somebody_keeps_holds_up_no_result(channel: grpc.aio.Channel, database: str) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        kept = await start_run(channel, "one")
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.step_tasks where run_id = %s for update", (kept,))
            with structlog.testing.capture_logs() as logs:
                # The lease beside it meets the kept row, and gives up.
                result = worker_pb2.Result(token=task.token, completed=worker_pb2.Completed(output=b"1"))
                worker.send(result_batch=worker_pb2.ResultBatch(results=[result], credits=1))
                assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
            assert [line for line in logs if "cannot be recorded" in line["event"]] == []
            await holder.rollback()
        (later,) = await worker.take_tasks(1)
        assert later.run_id == kept


async def test_a_result_in_time_is_no_timeout_however_long_the_database_takes(
    channel: grpc.aio.Channel, database: str
) -> None:
    await define(channel, "one", step={"timeout_s": 1}, work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.runs where run_id = %s for update", (run_id,))
            worker.complete(task)
            # Beyond the timeout, its second of grace, and the next look at the leases.
            await asyncio.sleep(3.5)
            await holder.rollback()
        assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
        assert worker.lost == []
        assert await run_status(channel, run_id) == "COMPLETED"


async def test_an_error_that_says_nothing_fails_no_task(channel: grpc.aio.Channel, conn: Conn) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=20) as worker:
        await start_runs(channel, "one", 20)
        tasks = await worker.take_tasks(20)
        await forbid(conn, when=f"new.run_id = '{tasks[7].run_id}'", state="P0001")
        worker.complete(*tasks)
        acks = await acks_of(worker, 19)
        assert tasks[7].token not in acks
        await execute(conn, "drop trigger forbid on pgflow.step_tasks")
        assert [(ack.token, ack.verdict) for ack in await worker.take_acks(1)] == [(tasks[7].token, RECORDED)]


async def test_a_result_of_which_nothing_can_be_recorded_ends_in_a_timeout_not_in_silence(
    coordinator: Coordinator, channel: grpc.aio.Channel, conn: Conn
) -> None:
    await define(channel, "one", step={"timeout_s": 3600, "max_attempts": 1}, work=[])
    async with raw_worker(channel, ["one.work"], credits=2) as worker:
        await start_runs(channel, "one", 2)
        bad, good = await worker.take_tasks(2)
        # Refuses whatever the worker says of it, and lets the engine's own word through.
        await forbid(conn, when=f"new.run_id = '{bad.run_id}' and new.status = 'completed'")
        await execute(
            conn,
            "create trigger forbid_errors before insert on pgflow.task_errors for each row"
            " when (new.code <> 'TIMEOUT') execute function public.forbid()",
        )
        worker.complete(bad, good)
        acks = await acks_of(worker, 2)
        assert acks[good.token].verdict == RECORDED
        assert (acks[bad.token].verdict, acks[bad.token].reason) == (STALE, common_pb2.ERROR_REASON_INTERNAL)
        assert (await ended_run(channel, bad.run_id)).error.code == "TIMEOUT"
    # The run has ended with the commit, of which its lane may hear later than the watch.
    async with asyncio.timeout(10):
        while coordinator.engine.completions.held_bytes:
            await asyncio.sleep(0)


async def test_beyond_the_bound_results_are_busy_although_the_database_answers(
    start_coordinator: Callable[..., Any], database: str
) -> None:
    async with start_coordinator(max_held_bytes=1 << 20) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", step={"timeout_s": 1}, work=[])
        async with raw_worker(channel, ["one.work"], credits=3) as worker:
            await start_runs(channel, "one", 3)
            first, second, silent = await worker.take_tasks(3)
            async with await psycopg.AsyncConnection.connect(database) as holder:
                await holder.execute("lock table pgflow.runs in exclusive mode")
                worker.complete(first, output=b'"' + b"x" * ((1 << 20) - 2) + b'"')
                worker.complete(second)
                (ack,) = await worker.take_acks(1)
                assert (ack.token, ack.verdict) == (second.token, BUSY)
                assert ack.retry_after_ms > 0
                # The engine's own word is none that anybody would send again.
                await worker.until(lambda: worker.lost == [silent.token])
                await holder.rollback()
            assert [(ack.token, ack.verdict) for ack in await worker.take_acks(1)] == [(first.token, RECORDED)]
            worker.complete(second)
            assert [(ack.token, ack.verdict) for ack in await worker.take_acks(1)] == [(second.token, RECORDED)]

            async def timed_out() -> bool:
                task = await get_task(channel, silent.run_id, "work")
                return [attempt.code for attempt in task.attempts] == ["TIMEOUT"]

            await eventually(timed_out)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many results each transaction carries, and the bytes of their outputs."""
    seen: list[tuple[int, int]] = []
    original = TaskStore.exchange

    async def counting(self: TaskStore, conn: Any, results: Any, requests: Any, **options: Any) -> Any:
        if results is not None:
            seen.append((len(results.run_ids), sum(len(output or b"") for output in results.outputs)))
        return await original(self, conn, results, requests, **options)

    monkeypatch.setattr(TaskStore, "exchange", counting)
    return seen


async def test_the_last_results_of_a_worker_that_takes_no_more_travel_together(
    channel: grpc.aio.Channel, batches: list[tuple[int, int]]
) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=256) as worker:
        await start_runs(channel, "one", 256)
        worker.complete(*await worker.take_tasks(256))
        await worker.take_acks(256)
    assert sum(count for count, _ in batches) == 256
    assert len(batches) <= 30, batches


async def test_a_transaction_carries_a_bounded_number_of_bytes(
    coordinator: Coordinator, channel: grpc.aio.Channel, batches: list[tuple[int, int]], database: str
) -> None:
    await define(channel, "one", work=[])
    output = b'"' + b"x" * 999_000 + b'"'
    async with raw_worker(channel, ["one.work"], credits=40) as worker:
        await start_runs(channel, "one", 40)
        tasks = await worker.take_tasks(40)
        async with await psycopg.AsyncConnection.connect(database) as holder:
            # Both lanes wait, and what comes meanwhile waits behind them.
            await holder.execute("lock table pgflow.runs in exclusive mode")
            for start in range(0, 40, 10):
                worker.complete(*tasks[start : start + 10], output=output)

            async def all_have_come() -> bool:
                return coordinator.engine.completions.held_bytes > 40 * len(output)

            await eventually(all_have_come)
            await holder.rollback()
        await worker.take_acks(40)
    assert max(size for _, size in batches) <= 8 << 20
    assert coordinator.engine.completions.held_bytes == 0


async def test_slots_that_are_free_before_the_commit_are_granted_in_full(
    start_coordinator: Callable[..., Any], database: str
) -> None:
    async with start_coordinator(max_credits=10) as coordinator, channel_to(coordinator) as channel:
        await define(channel, "one", work=[])
        async with raw_worker(channel, ["one.work"], credits=10) as worker:
            await start_runs(channel, "one", 20)
            tasks = await worker.take_tasks(10)
            async with await psycopg.AsyncConnection.connect(database) as holder:
                await holder.execute("lock table pgflow.runs in exclusive mode")
                worker.complete(*tasks)
                worker.grant(10)
                await worker.take_tasks(10)  # of the other runs: no commit is awaited
                await holder.rollback()
            await worker.take_acks(10)
