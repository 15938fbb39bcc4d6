"""Results are kept until their ack, and sent again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from stepgres.v1 import common_pb2, worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.proxy import Stream
from stepgres_conformance.runs import Run, step

_BUSY_MS = 600
#: A result may come back so much too early: clocks differ, and what is late on its way out is early on its way back.
_EARLY_MS = 60
#: Results in one frame, at most.
_FRAME_RESULTS = 500
#: A verdict and a reason of a later version.
_LATER_VERDICT, _LATER_REASON = (
    cast("worker_pb2.AckVerdict.ValueType", 99),
    cast("common_pb2.ErrorReason.ValueType", 9999),
)


def _credits_of(frame: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest | None:
    """What is left of a frame of results when the results are taken out: the worker counts on its credits."""
    credits = frame.result_batch.credits
    return worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=credits)) if credits else None


def lose_results(bench: Bench) -> None:
    """From now on no result reaches the coordinator."""

    def drop(_stream: Stream, frame: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest | None:
        return _credits_of(frame) if frame.WhichOneof("frame") == "result_batch" else frame

    bench.proxy.request_fault = drop


def lose_acks(bench: Bench) -> set[bytes]:
    """From now on no ack reaches the worker; returns the tokens of those that were lost, which grows."""
    lost: set[bytes] = set()

    def drop(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse | None:
        if frame.WhichOneof("frame") != "ack_batch":
            return frame
        lost.update(ack.token for ack in frame.ack_batch.acks)
        return None

    bench.proxy.response_fault = drop
    return lost


async def answered(bench: Bench, tokens: Iterable[bytes], times: int = 1, within_s: float = 8.0) -> None:
    """Waits until the worker has sent a result of each token so many times."""
    missing = list(tokens)
    await bench.until(
        lambda: all(sum(1 for _ in bench.tape.results(token)) >= times for token in missing),
        lambda: (
            f"{sum(1 for t in missing if sum(1 for _ in bench.tape.results(t)) < times)} of {len(missing)} results were "
            f"sent less than {times} time(s)"
        ),
        within_s=within_s,
    )


@point("result-resent", "R4.2 R4.1 R7.2", optional=True)
async def result_resent(bench: Bench) -> None:
    """A result that a broken stream has swallowed is sent again, unchanged, after the reconnect."""
    lose_results(bench)
    run = await bench.start(step("count", map=True), input=[1, 2, 3])
    tokens = await bench.given(run, 3)
    await answered(bench, tokens)
    old = bench.tape.stream
    bench.proxy.heal()
    bench.stream.cut()
    await bench.reconnected(old)
    held = set(bench.tape.hellos()[-1].body.held_tokens)
    if missing := set(tokens) - held:
        raise Broken(
            f"the Hello of the resume does not list {len(missing)} of 3 results that no ack has answered", "R7.2"
        )
    await answered(bench, tokens, times=2)
    for token in tokens:
        first, again = (result for _, result in list(bench.tape.results(token))[:2])
        if first != again:
            raise Broken("a result was sent again with another content")
    await run.completed()
    _executed_once(bench, run)


@point("ack-lost", "R4.1 R7.2", optional=True)
async def ack_lost(bench: Bench) -> None:
    """A result whose ack was lost stays held until the coordinator has answered it once more, and only until then."""
    lose_acks(bench)
    run = await bench.start(step("count", map=True), input=[1, 2, 3, 4])
    tokens = await bench.given(run, 4)
    await run.completed()  # recorded; the worker does not know
    await answered(bench, tokens)
    old = bench.tape.stream
    bench.proxy.heal()
    bench.stream.cut()
    second = await bench.reconnected(old)
    held = set(bench.tape.hellos()[-1].body.held_tokens)
    if missing := set(tokens) - held:
        raise Broken(
            f"the Hello of the resume does not list {len(missing)} of 4 results that no ack has answered", "R7.2"
        )
    await bench.barrier()
    bench.stream.cut()
    await bench.reconnected(second)
    if kept := set(tokens) & set(bench.tape.hellos()[-1].body.held_tokens):
        raise Broken(f"{len(kept)} results that LeaseLost or an ack has answered are still listed as held")
    _executed_once(bench, run)


def _executed_once(bench: Bench, run: Run) -> None:
    lines = [line for line in bench.process.log() if line.startswith(f"count {run.id}:")]
    if len(lines) != len(set(lines)):
        raise Broken("a task was executed again though its result was kept", "R4.1")


@point("verdicts-final", "R5.2 R4.3 R13.1 R12.2")
async def verdicts_final(bench: Bench) -> None:
    """DUPLICATE, STALE, REJECTED and verdicts of a later version end the matter as RECORDED does: the result is forgotten."""
    verdicts = [
        worker_pb2.ACK_VERDICT_DUPLICATE, worker_pb2.ACK_VERDICT_STALE, worker_pb2.ACK_VERDICT_REJECTED, _LATER_VERDICT,
    ]  # fmt: skip
    count = len(verdicts)
    given: dict[bytes, worker_pb2.AckVerdict.ValueType] = {}
    # A result of an earlier point may still wait for its ack, and may have been sent twice for good reason.
    before = {task.token for task in bench.tape.tasks()}

    def other_verdicts(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse:
        if frame.WhichOneof("frame") != "ack_batch" or not verdicts:
            return frame
        changed = worker_pb2.WorkResponse()
        changed.CopyFrom(frame)
        known = {task.token for task in bench.tape.tasks()} - before
        for ack in changed.ack_batch.acks:
            if verdicts and ack.token in known:
                ack.verdict = given[ack.token] = verdicts.pop()
                ack.reason = _LATER_REASON if ack.verdict == _LATER_VERDICT else common_pb2.ERROR_REASON_INVALID_TOKEN
                ack.message = "the conformance kit says so"
        return changed

    bench.proxy.response_fault = other_verdicts
    stream = bench.tape.stream
    run = await bench.start(step("echo", map=True), input=list(range(count)))
    await run.completed()
    await bench.until(lambda: len(given) == count, "the worker's results got no verdict")
    # Said twice: an ack for what is forgotten already.
    acks = [worker_pb2.Ack(token=token, verdict=verdict) for token, verdict in given.items()]
    bench.stream.inject(ack_batch=worker_pb2.AckBatch(acks=acks))
    await bench.barrier()
    if bench.tape.stream != stream or bench.process.exit_code is not None:
        raise Broken("the worker let its stream go over a verdict", "R13.1")
    for token, verdict in given.items():
        if sum(1 for _ in bench.tape.results(token)) > 1:
            raise Broken(f"a result was sent again after {_verdict_name(verdict)}", _verdict_rule(verdict))
    bench.stream.cut()
    await bench.reconnected(stream)
    for token in set(given) & set(bench.tape.hellos()[-1].body.held_tokens):
        raise Broken(
            f"a result is still listed as held after {_verdict_name(given[token])}", _verdict_rule(given[token])
        )


def _verdict_name(verdict: worker_pb2.AckVerdict.ValueType) -> str:
    return "a verdict of a later version" if verdict == _LATER_VERDICT else worker_pb2.AckVerdict.Name(verdict)


def _verdict_rule(verdict: worker_pb2.AckVerdict.ValueType) -> str | None:
    return "R12.2" if verdict == _LATER_VERDICT else None


@point("busy-resent", "R4.4")
async def busy_resent(bench: Bench) -> None:
    """After BUSY the same result is sent again on the same stream when retry_after_ms have passed, not sooner."""
    said: dict[bytes, float] = {}

    def push_back(stream: Stream, frame: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest | None:
        if frame.WhichOneof("frame") != "result_batch":
            return frame
        passed = worker_pb2.WorkRequest()
        acks = []
        for result in frame.result_batch.results:
            if result.token in said:
                passed.result_batch.results.append(result)
                continue
            said[result.token] = time.monotonic()
            acks.append(
                worker_pb2.Ack(
                    token=result.token,
                    verdict=worker_pb2.ACK_VERDICT_BUSY,
                    reason=common_pb2.ERROR_REASON_OVERLOADED,
                    retry_after_ms=_BUSY_MS,
                )
            )
        if acks:
            stream.inject(ack_batch=worker_pb2.AckBatch(acks=acks))
        passed.result_batch.credits = frame.result_batch.credits
        return passed if passed.result_batch.results else _credits_of(frame)

    bench.proxy.request_fault = push_back
    stream = bench.tape.stream
    run = await bench.start(step("count", map=True), input=[1, 2, 3])
    tokens = await bench.given(run, 3)
    await answered(bench, tokens, times=2)
    await run.completed()
    for token in tokens:
        (_, first), (frame, again) = list(bench.tape.results(token))[:2]
        waited_ms = (frame.at - said[token]) * 1000
        if frame.stream != stream:
            raise Broken("a result was sent again after BUSY, but on another stream")
        if waited_ms < _BUSY_MS - _EARLY_MS:
            raise Broken(f"a result was sent again {waited_ms:.0f} ms after BUSY with retry_after_ms {_BUSY_MS}")
        if first != again:
            raise Broken("a result was sent again after BUSY with another content")
    _executed_once(bench, run)


@point("frames-of-results", "R13.2 R4.5", concurrency=700, handlers=("big", "echo"), fresh=True)
async def frames_of_results(bench: Bench) -> None:
    """Results are cut into frames of at most Welcome.max_frame_bytes and 500 results."""
    limit = 64 << 10

    def small_frames(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse:
        if frame.WhichOneof("frame") != "welcome":
            return frame
        changed = worker_pb2.WorkResponse()
        changed.CopyFrom(frame)
        changed.welcome.max_frame_bytes = limit
        return changed

    lose_results(bench)
    small = await bench.start(step("echo", map=True), input=[0] * 600)
    large = await bench.start(step("big", map=True, params={"bytes": 20_000}), input=[0] * 40)
    tokens = [*await bench.given(small, 600), *await bench.given(large, 40)]
    await answered(bench, tokens, within_s=20.0)
    old, mark = bench.tape.stream, bench.mark()
    bench.proxy.heal()
    bench.proxy.response_fault = small_frames
    bench.stream.cut()
    await bench.reconnected(old)
    await large.completed(30.0, rule="R4.2")
    await small.completed(30.0, rule="R4.2")
    for frame in bench.tape.sent("result_batch"):
        if len(frame.body.results) > _FRAME_RESULTS:
            raise Broken(
                f"a frame carries {len(frame.body.results)} results; at most {_FRAME_RESULTS} are allowed", "R4.5"
            )
    for frame in bench.tape.sent("result_batch", mark):
        if frame.size > limit and len(frame.body.results) > 1:
            raise Broken(
                f"a frame of {len(frame.body.results)} results has {frame.size} bytes; Welcome.max_frame_bytes is {limit}"
            )


@point("tokens-opaque", "R5.1")
async def tokens_opaque(bench: Bench) -> None:
    """Every result carries a token that the worker was given, byte for byte."""
    run = await bench.start(step("echo", map=True), input=list(range(25)))
    await run.completed()
    known = {task.token for task in bench.tape.tasks()}
    if strange := [result.token for _, result in bench.tape.results() if result.token not in known]:
        raise Broken(f"a result carries the token {strange[0].hex()[:80]}, which the worker was never given")
