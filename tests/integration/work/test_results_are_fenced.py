"""Late, doubled, guessed and foreign results change nothing."""

from __future__ import annotations

import os

import grpc

from stepgres.v1 import common_pb2, worker_pb2
from tests.support.flows import cancel_run, define, ended_run, get_task, run_status, start_run, start_runs
from tests.support.raw_worker import raw_worker

RECORDED = worker_pb2.ACK_VERDICT_RECORDED
DUPLICATE = worker_pb2.ACK_VERDICT_DUPLICATE
STALE = worker_pb2.ACK_VERDICT_STALE
REJECTED = worker_pb2.ACK_VERDICT_REJECTED


async def test_the_first_result_counts_and_the_second_is_a_duplicate(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        worker.complete(task, output=b'"first"')
        assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
        worker.complete(task, output=b'"second"')
        assert [ack.verdict for ack in await worker.take_acks(1)] == [DUPLICATE]
        assert (await ended_run(channel, run_id)).output == b'{"work":"first"}'


async def test_a_result_doubled_inside_one_frame_counts_once(channel: grpc.aio.Channel) -> None:
    await define(channel, "two", first=[], second=["first"])
    async with raw_worker(channel, ["two.first"], credits=1) as worker:
        await start_run(channel, "two")
        (task,) = await worker.take_tasks(1)
        worker.complete(task, task)
        acks = await worker.take_acks(2)
        assert sorted(ack.verdict for ack in acks) == [RECORDED, DUPLICATE]


async def test_guessed_and_foreign_tokens_are_stale(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with (
        raw_worker(channel, ["one.work"], credits=1) as owner,
        raw_worker(channel, ["other.work"]) as thief,
    ):
        run_id = await start_run(channel, "one")
        (task,) = await owner.take_tasks(1)
        assert thief.welcome is not None
        forged = thief.welcome.session_id + task.token[16:]
        for token in (task.token, forged, b"", os.urandom(7), os.urandom(42)):
            thief.complete(worker_pb2.LeasedTask(token=token), output=b'"stolen"')
        acks = await thief.take_acks(5)
        assert {ack.verdict for ack in acks} == {STALE}
        owner.complete(task, output=b'"mine"')
        assert [ack.verdict for ack in await owner.take_acks(1)] == [RECORDED]
        assert (await ended_run(channel, run_id)).output == b'{"work":"mine"}'


async def test_a_result_after_the_cancel_is_stale_and_the_worker_was_told(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        await cancel_run(channel, run_id)
        await worker.until(lambda: worker.cancelled == [task.token])
        worker.complete(task)
        assert [ack.verdict for ack in await worker.take_acks(1)] == [STALE]
        assert await run_status(channel, run_id) == "CANCELLED"


async def test_siblings_of_a_failed_task_are_stopped(channel: grpc.aio.Channel) -> None:
    await define(channel, "two", step={"max_attempts": 1}, left=[], right=[])
    async with raw_worker(channel, ["two.left", "two.right"], credits=2) as worker:
        run_id = await start_run(channel, "two")
        tasks = {task.step: task for task in await worker.take_tasks(2)}
        worker.fail(tasks["left"], code="BROKEN", message="no way")
        # The failed one may be named as well, when the notification overtakes its ack.
        await worker.until(lambda: tasks["right"].token in worker.cancelled)
        run = await ended_run(channel, run_id)
        assert run.status == common_pb2.RUN_STATUS_FAILED
        assert (run.error.step, run.error.code, run.error.message, run.error.attempt) == ("left", "BROKEN", "no way", 1)


async def test_one_bad_item_fails_its_task_and_nobody_elses(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    bad = (b"{", b"\xff\xfe", b'"\\u0000"', b"NaN", b"", b'"' + b"x" * (1 << 20) + b'"')
    async with raw_worker(channel, ["one.work"], credits=20) as worker:
        await start_runs(channel, "one", 20)
        tasks = await worker.take_tasks(20)
        outputs = [*bad, *[b"1"] * (20 - len(bad))]
        results = [
            worker_pb2.Result(token=task.token, completed=worker_pb2.Completed(output=output))
            for task, output in zip(tasks, outputs, strict=True)
        ]
        worker.send(result_batch=worker_pb2.ResultBatch(results=results))
        verdicts = {ack.token: ack for ack in await worker.take_acks(20)}
        refused = [verdicts[task.token] for task in tasks[: len(bad)]]
        assert {ack.verdict for ack in refused} == {REJECTED}
        assert all(ack.message for ack in refused)
        assert {verdicts[task.token].verdict for task in tasks[len(bad) :]} == {RECORDED}
        for task in tasks[: len(bad)]:
            run = await ended_run(channel, task.run_id)
            assert run.status == common_pb2.RUN_STATUS_FAILED
            assert run.error.code in ("INVALID_OUTPUT", "OUTPUT_TOO_LARGE")


async def test_json_that_only_postgres_accepts_comes_back_byte_for_byte(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", work=[])
    odd = (
        b"1e400",
        b"-0.0",
        b'{"a":1, "a" : 2}',
        b" [ 1 ,2 ] ",
        b"9007199254740993",
        b'"\xc3\xa9\\ud83d\\ude00"',
        b"[" * 2000 + b"]" * 2000,
    )
    async with raw_worker(channel, ["one.work"], credits=len(odd)) as worker:
        for output in odd:
            run_id = await start_run(channel, "one")
            (task,) = await worker.take_tasks(1)
            worker.complete(task, output=output)
            assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
            assert (await ended_run(channel, run_id)).output == b'{"work":' + output + b"}"


async def test_a_released_task_comes_back_without_burning_an_attempt(channel: grpc.aio.Channel) -> None:
    await define(channel, "one", step={"max_attempts": 1}, work=[])
    async with raw_worker(channel, ["one.work"], credits=1) as worker:
        run_id = await start_run(channel, "one")
        (task,) = await worker.take_tasks(1)
        worker.release(task)
        assert [ack.verdict for ack in await worker.take_acks(1)] == [RECORDED]
        worker.grant(1)
        (again,) = await worker.take_tasks(1)
        assert again.attempt == 1
        assert again.token != task.token
        worker.complete(task)
        assert [ack.verdict for ack in await worker.take_acks(1)] == [STALE]
        worker.complete(again)
        await worker.take_acks(1)
        assert await run_status(channel, run_id) == "COMPLETED"
        assert (await get_task(channel, run_id, "work")).lost_leases == 0
