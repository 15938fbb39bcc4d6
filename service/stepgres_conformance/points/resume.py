"""Streams that break."""

from __future__ import annotations

import grpc

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import PATIENCE_S, Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.points.acks import lose_acks
from stepgres_conformance.proxy import Stream
from stepgres_conformance.runs import Run, step
from stepgres_conformance.system import GRACE_S, LEASE_S

#: With what a coordinator may end a stream that it has welcomed.
_LATER_ENDS = (
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE,
)  # fmt: skip
#: Seconds for which streams are refused.
_AWAY_S = 2.5
#: Seconds that a worker has to let a drained stream go itself. The coordinator ends it at the resume, with SESSION_TAKEN,
#: and what the worker says last on it would be lost.
LINGER_S = 2.0
#: Seconds in which a worker has read what was sent to it.
_READ_S = 0.5
#: Tries in that time; full jitter with a cap of 1 s makes some 10, and none at all is no try.
_TRIES = range(1, 60)


async def moved_with(bench: Bench, old: int, tokens: list[bytes]) -> worker_pb2.Hello:
    """Checks that the newest stream resumes the session of an older one with these tokens; returns its Hello."""
    tape = bench.tape
    before = next(frame.body for frame in tape.welcomed() if frame.stream == old)
    hello: worker_pb2.Hello = tape.hellos()[-1].body
    welcome = tape.welcomed()[-1].body
    if hello.instance_id != tape.hellos()[0].body.instance_id:
        raise Broken("the instance id has changed with the stream; a process keeps it", "R1.3")
    if hello.session_id != before.session_id:
        raise Broken("Hello does not name the session of the Welcome before", "R7.1")
    held = list(hello.held_tokens)
    if len(held) != len(set(held)):
        raise Broken("held_tokens lists a token twice", "R7.2")
    if missing := set(tokens) - set(held):
        raise Broken(f"held_tokens lacks {len(missing)} of {len(tokens)} tasks that are executing", "R7.2")
    if extra := set(held) - set(tokens) - {result.token for _, result in tape.results()}:
        raise Broken(f"held_tokens lists {len(extra)} tasks that the worker does not hold", "R7.2")
    if not welcome.resumed:
        raise Broken("the session could not be resumed: the worker came too late, or with another identity", "R7.1")
    return hello


async def executed_once(run: Run, count: int) -> None:
    """Checks that no task of a run was handed out twice."""
    tasks = await run.tasks()
    again = [task for task in tasks if task.lost_leases or task.attempt != 1]
    if again or len(tasks) != count:
        raise Broken(f"{len(again)} of {len(tasks)} tasks had to be handed out again", "R7.2")


async def let_go(bench: Bench, old: int, within_s: float = PATIENCE_S) -> None:
    """Waits until a drained stream is let go, and checks that this was not done with Goodbye."""
    tape = bench.tape
    await bench.until(lambda: old in tape.ended, "the old stream was never let go", within_s=within_s, rule="R10.3")
    if tape.sent("goodbye", stream=old):
        raise Broken("the worker said Goodbye over a Drain: that ends its session", "R10.3")


@point("resume", "R7.1 R7.2 R1.3", optional=True)
async def resume(bench: Bench) -> None:
    """After a break the worker resumes its session with the tokens it holds; its tasks go on and are executed once."""
    run = await bench.start(step("sleep", map=True, params={"seconds": 2.5}), input=[None] * 4)
    tokens = await bench.executing(run, 4)
    old = bench.tape.stream
    bench.stream.cut()
    await bench.reconnected(old)
    await moved_with(bench, old, tokens)
    await run.completed()
    await executed_once(run, 4)
    if len(bench.tape.tasks(run.id)) != 4:
        raise Broken("tasks were handed out again after the resume", "R7.2")


@point("resume-refused", "R7.4 R7.3", fresh=True)
async def resume_refused(bench: Bench) -> None:
    """When the session is over the worker stops what LeaseLost lists, drops its results, and goes on in the new one."""

    def forget(_stream: Stream, frame: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest:
        if frame.WhichOneof("frame") != "hello":
            return frame
        changed = worker_pb2.WorkRequest()
        changed.CopyFrom(frame)
        changed.hello.session_id = b""
        return changed

    run = await bench.start(step("sleep_until_cancelled", map=True, timeout_s=60), input=[None] * 2)
    tokens = await bench.executing(run, 2)
    lost = lose_acks(bench)
    done = await bench.start(step("echo"))
    kept = await bench.given(done, 1)
    await bench.until(lambda: lost.issuperset(kept), "no result came", rule="R4.1")
    old = bench.tape.stream
    bench.proxy.heal()
    bench.proxy.request_fault = forget
    bench.stream.cut()
    stream = await bench.reconnected(old)
    wanted = {f"cancelled {run.id}:sleep_until_cancelled:{index}" for index in range(2)}
    await bench.until(
        lambda: wanted <= set(bench.process.log()), "handlers go on though LeaseLost has listed their tasks"
    )
    bench.proxy.heal()
    await bench.barrier()
    welcome, mark = bench.tape.welcomed()[-1].body, bench.mark()
    bench.stream.cut()
    await bench.reconnected(stream)
    hello = bench.tape.hellos()[-1].body
    if hello.session_id not in (b"", welcome.session_id):  # one that never resumes names none
        raise Broken("after a Welcome with another session the worker does not go on in that one", "R7.3")
    if {*tokens, *kept} & set(hello.held_tokens):
        raise Broken("tokens that LeaseLost has listed are still listed as held")
    await bench.barrier()
    if any(result.token in kept for _, result in bench.tape.results(since=mark)):
        raise Broken("a result of the session that was over was sent though LeaseLost had listed its token")
    # The old session ends with its grace: the tasks come again, with other tokens.
    await bench.until(
        lambda: len(bench.tape.tasks(run.id)) >= 4,
        "the tasks of the session that was over did not come again",
        within_s=GRACE_S + LEASE_S + 5,
    )


@point("ended-streams", "R13.3", fresh=True)  # it may be slower to try again afterwards
async def ended_streams(bench: Bench) -> None:
    """A stream that ends after Welcome, with whatever status of the table, is followed by another one."""
    for code in _LATER_ENDS:
        await _follows_on(bench, code)
    await bench.barrier()


async def _follows_on(bench: Bench, code: grpc.StatusCode) -> None:
    old = bench.tape.stream
    bench.stream.cut(code)
    await bench.until(
        lambda: bench.tape.stream > old or bench.process.exit_code is not None,
        f"no other stream was opened after one had ended, behind its Welcome, with {code.name}",
    )
    if bench.process.exit_code is not None:
        raise Broken(f"the process has ended because a stream ended, behind its Welcome, with {code.name}")


@point("backoff", "R7.5")
async def backoff(bench: Bench) -> None:
    """While no coordinator takes streams the worker tries again and again, with pauses, and is back soon afterwards."""
    old = bench.tape.stream
    bench.proxy.refusing, bench.proxy.refused = grpc.StatusCode.UNAVAILABLE, 0
    bench.stream.cut()
    await bench.quiet(_AWAY_S)
    tries = bench.proxy.refused
    bench.proxy.heal()
    await bench.reconnected(old, within_s=4.0)  # the cap is 1 s while the lease lasts
    if tries not in _TRIES:
        raise Broken(f"in {_AWAY_S:g} s without a coordinator the worker tried {tries} times")
    await bench.barrier()


def _ask_to_drain(bench: Bench) -> None:
    bench.stream.inject(drain=worker_pb2.Drain(deadline_ms=8000, reason="the conformance kit asks for it"))


@point("drain", "R10.1 R10.2 R10.3", optional=True)
async def drain(bench: Bench) -> None:
    """On Drain the worker opens the next stream, resumes there with what it holds, and only then lets the old one go."""
    run = await bench.start(step("sleep", map=True, params={"seconds": 2.5}), input=[None] * 3)
    tokens = await bench.executing(run, 3)
    old = bench.tape.stream
    bench.proxy.linger_s = LINGER_S
    _ask_to_drain(bench)
    await bench.until(
        lambda: bench.tape.stream > old,
        "no other stream was opened after Drain",
        rule="R10.1",
    )
    tape = bench.tape
    opened = tape.frames.index(tape.hellos()[-1])
    if tape.ended.get(old, opened + 1) <= opened:
        raise Broken("the stream was let go before the next one was open", "R10.1")
    await moved_with(bench, old, tokens)
    await let_go(bench, old)
    if granted := tape.granted(opened, old):
        raise Broken(f"{granted} credits were granted on the draining stream", "R10.2")
    await run.completed()
    await executed_once(run, 3)


async def _late_tasks(bench: Bench) -> tuple[Run, Stream, worker_pb2.WorkRequest]:
    """Lets 3 tasks of `count` come over a draining stream while the Hello of the next one is on its way.

    Returns:
        Their run, the next stream, and its Hello, which the coordinator does not have.
    """
    held: list[tuple[Stream, worker_pb2.WorkRequest]] = []

    def hold_hello(stream: Stream, frame: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest | None:
        if frame.WhichOneof("frame") != "hello":
            return frame
        held.append((stream, frame))
        return None

    tape, old = bench.tape, bench.tape.stream
    bench.proxy.request_fault = hold_hello
    _ask_to_drain(bench)
    await bench.until(lambda: held, "no other stream was opened after Drain", rule="R10.1")
    # The old stream has credits left, and the coordinator knows of nothing.
    run = await bench.start(step("count", map=True), input=[1, 2, 3])
    await bench.until(
        lambda: len(tape.tasks(run.id)) >= 3 or old in tape.ended,
        "tasks for which credits had been granted could not be handed out over the draining stream",
    )
    if old in tape.ended:
        raise Broken("the stream was let go before the next one was open", "R10.1")
    return run, *held[0]


@point("drain-late-tasks", "R10.4 R10.3", optional=True)
async def drain_late_tasks(bench: Bench) -> None:
    """Tasks that come over a draining stream after the next one's Hello are left alone: they come again over that one."""
    tape, old = bench.tape, bench.tape.stream
    run, stream, hello = await _late_tasks(bench)
    late = {task.token for task in tape.tasks(run.id)}
    bench.proxy.heal()
    bench.proxy.linger_s = LINGER_S
    await stream.pass_on(hello)
    await bench.reconnected(old)
    await let_go(bench, old)
    await run.completed(rule="R10.4")
    lines = [line for line in bench.process.log() if line.startswith(f"count {run.id}:")]
    if len(lines) != len(set(lines)):
        raise Broken(
            f"{len(lines) - len(set(lines))} of 3 tasks that came too late were executed, and again over the next stream"
        )
    if any(result.token in late for _, result in tape.results()):
        raise Broken("a result of a task was sent that had come too late")


@point("drain-refused", "R10.4 R10.3", optional=True)
async def drain_refused(bench: Bench) -> None:
    """When the stream after a Drain ends before its Welcome, tasks that came meanwhile over the old one are executed."""
    tape, old = bench.tape, bench.tape.stream
    run, stream, _ = await _late_tasks(bench)
    await bench.quiet(_READ_S)  # nothing shows that the worker has read what it must not touch yet
    bench.proxy.heal()
    bench.proxy.linger_s = LINGER_S
    stream.cut()
    await bench.reconnected(old)
    await let_go(bench, old)
    await run.completed(rule="R10.4")
    if (given := len(tape.tasks(run.id))) != 3:
        raise Broken(
            f"3 tasks that came before the next stream was refused had to be handed out {given} times: the worker threw "
            "them away"
        )
