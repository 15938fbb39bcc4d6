"""Flow control: never more tasks than credits, and a freed slot refills alone."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from stepgres_service.store.tasks import TaskStore
from tests.support.flows import define, run_status, start_run, start_runs
from tests.support.raw_worker import raw_worker


async def test_no_task_comes_without_a_credit_and_never_more_than_granted(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    await start_runs(channel, "one", 20)
    async with raw_worker(channel, ["one.work"]) as worker:
        worker.grant(3)
        first = await worker.take_tasks(3)
        worker.complete(first[0])
        await worker.take_acks(1)
        assert worker.tasks == []  # the ack alone frees no slot
        worker.grant(1)
        await worker.take_tasks(1)
        assert worker.tasks == []


async def test_credits_beyond_the_limit_are_cut_not_refused(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"]) as worker:
        worker.grant(2_000_000_000)
        run_id = await start_run(channel, "one")
        worker.complete(*await worker.take_tasks(1))
        await worker.take_acks(1)
        assert await run_status(channel, run_id) == "COMPLETED"


async def test_a_grant_of_nothing_ends_the_stream(channel: grpc.aio.Channel) -> None:
    async with raw_worker(channel, ["one.work"]) as worker:
        worker.grant(0)
        error = await worker.ended()
        assert error is not None
        assert "credit_grant.credits" in (error.details() or "")


async def test_results_and_the_tasks_for_their_slots_share_a_transaction(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []
    real = TaskStore.exchange

    async def exchange(self: TaskStore, conn: Any, results: Any, requests: Any, **options: Any) -> Any:
        done.append((len(results.run_ids) if results else 0, sum(sum(request.credits) for request in requests)))
        return await real(self, conn, results, requests, **options)

    await define(channel, "one", work=[])
    await start_runs(channel, "one", 40)
    async with raw_worker(channel, ["one.work"], credits=20) as worker:
        tasks = await worker.take_tasks(20)
        monkeypatch.setattr(TaskStore, "exchange", exchange)
        worker.complete(*tasks, credits=20)
        await worker.take_tasks(20)
        await worker.take_acks(20)
    # Half of what is outstanding each, as for everything else, so that the lanes keep each other company.
    assert done[:2] == [(10, 10), (10, 10)]


async def test_a_frame_of_results_cannot_take_credits_back(channel: grpc.aio.Channel) -> None:
    async with raw_worker(channel, ["one.work"]) as worker:
        worker.complete(credits=-1)
        error = await worker.ended()
        assert error is not None
        assert "result_batch.credits" in (error.details() or "")


async def test_two_workers_share_one_backlog(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=10) as left, raw_worker(channel, ["one.work"]) as right:
        right.grant(10)
        await start_runs(channel, "one", 20)
        tasks = await left.take_tasks(10) + await right.take_tasks(10)
        assert len({task.run_id for task in tasks}) == 20


async def test_a_worker_gets_only_what_it_serves(channel: grpc.aio.Channel) -> None:
    await define(channel, "two", first=[], second=[])
    async with raw_worker(channel, ["two.first"], credits=10) as worker:
        await start_runs(channel, "two", 3)
        tasks = await worker.take_tasks(3)
        assert {task.step for task in tasks} == {"first"}
        worker.complete(*tasks)
        await worker.take_acks(3)
        assert worker.tasks == []


async def test_a_scope_keeps_runs_to_the_sessions_that_subscribe_with_it(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with (
        raw_worker(channel, ["one.work"], credits=5) as common,
        raw_worker(channel, ["one.work"], credits=5, scope="mine") as mine,
    ):
        scoped = await start_run(channel, "one", scope="mine")
        plain = await start_run(channel, "one")
        assert [task.run_id for task in await mine.take_tasks(1)] == [scoped]
        assert [task.run_id for task in await common.take_tasks(1)] == [plain]
        assert common.tasks == []
        assert mine.tasks == []
