"""Coordinators and workers that go away, for real."""

from __future__ import annotations

from stepgres_conformance.bench import PATIENCE_S, Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.points.acks import answered, lose_results
from stepgres_conformance.points.resume import LINGER_S, executed_once, let_go, moved_with
from stepgres_conformance.runs import step
from stepgres_conformance.system import DRAIN_S, GRACE_S, LEASE_S

_CRASH_CODE = 70


@point("coordinator-restart", "R10.1 R7.1 R4.2 R10.3", limit_s=90.0, optional=True)
async def coordinator_restart(bench: Bench) -> None:
    """A coordinator that is restarted in order costs nothing: the worker moves on with what it holds before it closes."""
    system = bench.system
    old_one, new_one = system.coordinator, await system.spare()
    run = await bench.start(step("sleep", map=True, params={"seconds": 3}), input=[None] * 4)
    tokens = await bench.executing(run, 4)
    old = bench.tape.stream
    system.coordinator, bench.proxy.upstream = new_one, new_one.address
    bench.proxy.linger_s = LINGER_S
    old_one.terminate()
    try:
        await bench.reconnected(old)
        tape = bench.tape
        opened = tape.frames.index(tape.hellos()[-1])
        if tape.ended.get(old, opened + 1) <= opened:
            raise Broken("the worker came to the other coordinator only after the old one had closed the stream")
        await moved_with(bench, old, tokens)
        await let_go(bench, old, DRAIN_S + PATIENCE_S)
        await run.completed()
        await executed_once(run, 4)
    finally:
        await old_one.stopped()


@point("coordinator-killed", "R4.2 R7.1", limit_s=90.0, optional=True)
async def coordinator_killed(bench: Bench) -> None:
    """When a coordinator dies, another one gets the tasks that go on and the results that nobody has acknowledged."""
    system = bench.system
    old_one, new_one = system.coordinator, await system.spare()
    going_on = await bench.start(step("sleep", map=True, params={"seconds": 3}), input=[None] * 2)
    tokens = await bench.executing(going_on, 2)
    lose_results(bench)
    counted = await bench.start(step("count", map=True), input=[1, 2, 3])
    done = await bench.given(counted, 3)
    await answered(bench, done)
    old = bench.tape.stream
    old_one.kill()
    await old_one.stopped()
    system.coordinator, bench.proxy.upstream = new_one, new_one.address
    bench.proxy.heal()
    await bench.reconnected(old)
    await moved_with(bench, old, [*tokens, *done])
    await counted.completed()
    await going_on.completed()
    await executed_once(counted, 3)
    await executed_once(going_on, 2)


@point("crash", "R1.3 R6.3", fresh=True, limit_s=90.0)
async def crash(bench: Bench) -> None:
    """A worker process that dies holds up its tasks for no longer than its grace; the next process is another instance."""
    run = await bench.start(step("crash"))
    first = bench.process
    await bench.until(lambda: first.exit_code is not None, "the process goes on though its handler has ended it")
    if first.exit_code != _CRASH_CODE:
        raise Broken(f"the handler ended the process with {_CRASH_CODE}, and it ended with {first.exit_code}")
    if bench.tape.sent("goodbye"):
        raise Broken("a process that was ended at once has said Goodbye")
    before = bench.tape.hellos()[0].body
    await bench.start_worker(folder=first.folder)
    hello = bench.tape.hellos()[0].body
    if hello.instance_id == before.instance_id:
        raise Broken("two processes have the same instance id")
    if hello.session_id:
        raise Broken("a new process names the session of another one")
    output = await run.completed(GRACE_S + 2 * LEASE_S + 10)
    if output["crash"] != {"crashed": True}:
        raise Broken(f"the task that another process has taken over returned {output['crash']!r}")
