"""Flow control."""

from __future__ import annotations

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.points.acks import answered
from stepgres_conformance.proxy import Stream
from stepgres_conformance.runs import step


@point("credits-bounded", "R2.3")
async def credits_bounded(bench: Bench) -> None:
    """A worker grants no more credits than it has free slots."""
    slots = bench.process.concurrency
    run = await bench.start(step("sleep_until_cancelled", map=True, timeout_s=60), input=[None] * (3 * slots))
    await bench.given(run, slots)
    await bench.quiet(1.0)
    given = len(bench.tape.tasks(run.id))
    if given > slots:
        raise Broken(f"with {slots} slots the worker took {given} tasks at a time")
    # What was granted and is not used up can still come: it counts too.
    if (claimed := bench.tape.claimed(bench.tape.stream)) > slots:
        raise Broken(f"with {slots} slots, all taken, the worker has granted {claimed - given} credits more")


@point("slots-refill", "R2.4")
async def slots_refill(bench: Bench) -> None:
    """A slot that becomes free is granted while the others still execute; nothing waits for a batch."""
    slots = bench.process.concurrency
    blockers = await bench.start(step("sleep_until_cancelled", map=True, timeout_s=60), input=[None] * (slots - 1))
    await bench.given(blockers, slots - 1)
    run = await bench.start(step("echo", map=True), input=list(range(2 * slots)))
    tape = bench.tape
    await bench.until(
        lambda: sum(1 for task in tape.tasks(run.id) if any(tape.results(task.token))) == 2 * slots,
        lambda: (
            f"while {slots - 1} of {slots} tasks go on, only {len(tape.tasks(run.id))} of {2 * slots} short ones passed "
            "through the slot that is free"
        ),
    )


@point("slots-without-acks", "R2.4")
async def slots_without_acks(bench: Bench) -> None:
    """A slot is free when its handler has returned: it is granted again while the result still waits for its ack."""
    slots, tape, number = bench.process.concurrency, bench.tape, bench.tape.stream
    held: list[tuple[Stream, worker_pb2.WorkResponse]] = []

    def hold_acks(stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse | None:
        if frame.WhichOneof("frame") != "ack_batch":
            return frame
        held.append((stream, frame))
        return None

    bench.proxy.response_fault = hold_acks
    run = await bench.start(step("echo", map=True), input=[None] * (slots // 2))
    await answered(bench, await bench.given(run, slots // 2))
    await bench.until(
        lambda: tape.claimed(number) >= slots,
        lambda: (
            f"while {slots // 2} results wait for their acks only {tape.claimed(number)} of {slots} slots are granted, "
            "though no handler executes"
        ),
    )
    bench.proxy.heal()
    for stream, frame in held:
        stream.send(frame)


@point("credits-afresh", "R2.2")
async def credits_afresh(bench: Bench) -> None:
    """Credits end with their stream: after a new Welcome the worker grants what is free then."""
    slots, held = bench.process.concurrency, 3
    blockers = await bench.start(step("sleep_until_cancelled", map=True, timeout_s=60), input=[None] * held)
    await bench.executing(blockers, held)
    old = bench.tape.stream
    bench.stream.cut()
    stream = await bench.reconnected(old)
    tape = bench.tape
    await bench.until(
        lambda: tape.granted(stream=stream) >= slots - held,
        lambda: (
            f"after a new Welcome the worker granted {tape.granted(stream=stream)} credits; {slots - held} slots are free"
        ),
    )
    run = await bench.start(step("echo"))
    await run.completed()
    if (claimed := tape.claimed(stream)) > slots:
        raise Broken(
            f"with {held} tasks in hand the worker granted {claimed - held} credits after a new Welcome; {slots - held} "
            "slots are free",
            "R2.3",
        )
