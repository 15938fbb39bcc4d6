"""CancelTasks and LeaseLost."""

from __future__ import annotations

import secrets

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.points.acks import lose_acks
from stepgres_conformance.runs import step

_TOKEN_BYTES = 42


@point("cancel-stops", "R8.1 R2.4")
async def cancel_stops(bench: Bench) -> None:
    """CancelTasks stops the handlers of a run that has ended, and their slots are granted again."""
    slots = bench.process.concurrency - 1  # one stays free to show that the others execute
    run = await bench.start(step("sleep_until_cancelled", map=True, timeout_s=60), input=[None] * slots)
    await bench.executing(run, slots)
    mark = bench.mark()
    await run.cancel()
    wanted = {f"cancelled {run.id}:sleep_until_cancelled:{index}" for index in range(slots)}
    await bench.until(
        lambda: wanted <= set(bench.process.log()),
        lambda: f"{len(wanted - set(bench.process.log()))} of {slots} handlers go on after CancelTasks",
    )
    await bench.until(
        lambda: bench.tape.granted(mark) >= slots,
        lambda: f"after {slots} tasks were stopped only {bench.tape.granted(mark)} slots were granted again",
        rule="R2.4",
    )


@point("lease-lost-stops", "R8.2", fresh=True)
async def lease_lost_stops(bench: Bench) -> None:
    """LeaseLost stops the handler and drops a result that is kept: neither result nor token is ever sent again."""
    lose_acks(bench)
    answered_run = await bench.start(step("echo"))
    await answered_run.completed()  # its result waits for its ack
    run = await bench.start(step("sleep_until_cancelled", timeout_s=60))
    tokens = [*await bench.given(answered_run, 1), *await bench.given(run, 1)]
    bench.proxy.heal()
    await bench.barrier()  # the handler has begun: one that is stopped before has nothing to tell
    mark, stream = bench.mark(), bench.tape.stream
    bench.stream.inject(lease_lost=worker_pb2.LeaseLost(tokens=tokens, reason="the conformance kit took them"))
    await bench.until(
        lambda: f"cancelled {run.id}:sleep_until_cancelled:0" in bench.process.log(),
        "the handler goes on after LeaseLost",
    )
    await bench.barrier()
    bench.stream.cut()
    await bench.reconnected(stream)
    if any(result.token in tokens for _, result in bench.tape.results(since=mark)):
        raise Broken("the worker sent a result of a lease that it had lost")
    if set(tokens) & set(bench.tape.hellos()[-1].body.held_tokens):
        raise Broken("the worker still lists a lease as held that it had lost")


@point("stops-of-strangers", "R8.3")
async def stops_of_strangers(bench: Bench) -> None:
    """CancelTasks, LeaseLost and acks with tokens that the worker does not have are ignored."""
    stream = bench.tape.stream
    other = await bench.start(step("sleep", params={"seconds": 0.5}))
    await bench.given(other, 1)
    tokens = [secrets.token_bytes(_TOKEN_BYTES), b"", secrets.token_bytes(7)]
    bench.stream.inject(cancel_tasks=worker_pb2.CancelTasks(tokens=tokens))
    bench.stream.inject(lease_lost=worker_pb2.LeaseLost(tokens=tokens))
    verdicts = (
        worker_pb2.ACK_VERDICT_RECORDED, worker_pb2.ACK_VERDICT_STALE, worker_pb2.ACK_VERDICT_BUSY,
    )  # fmt: skip
    acks = [worker_pb2.Ack(token=token, verdict=verdict) for token, verdict in zip(tokens, verdicts, strict=True)]
    bench.stream.inject(ack_batch=worker_pb2.AckBatch(acks=acks))
    await other.completed()
    await bench.barrier()
    if bench.tape.stream != stream or bench.process.exit_code is not None:
        raise Broken("the worker let its stream go over tokens that it does not have")
