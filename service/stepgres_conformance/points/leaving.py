"""How a worker stops."""

from __future__ import annotations

import signal
import time

import grpc

from stepgres_conformance.bench import PATIENCE_S, Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.runs import step

#: Seconds that a worker without a task has to end.
_END_S = 10.0
_WRAPPER = "a command that starts the worker, such as a shell script, must hand SIGTERM on, or `exec` it"
#: A worker that stops has read a task for certain which came so many seconds before its Goodbye, or its end.
_READ_S = 1.0


async def _end(bench: Bench, *, where: str = "") -> None:
    """Waits for the end of the process."""
    await bench.until(
        lambda: bench.process.exit_code is not None,
        f"{where}the process goes on {_END_S:g} s after SIGTERM; {_WRAPPER}",
        within_s=_END_S,
        rule="R11.5",
    )


async def _leave(bench: Bench, rule: str) -> None:
    """Waits for the end of the process, in order: Goodbye last, a half-close, and exit code 0."""
    process, tape = bench.process, bench.tape
    await _end(bench)
    goodbyes = tape.sent("goodbye")
    if not goodbyes:
        by_signal = f": SIGTERM itself has ended it; {_WRAPPER}" if process.exit_code == -signal.SIGTERM else ""
        raise Broken(f"the process has ended without Goodbye{by_signal}", rule)
    stream = goodbyes[-1].stream
    last = [frame for frame in tape.frames if frame.from_worker and frame.stream == stream][-1]
    if last.kind != "goodbye" or len(goodbyes) != 1:
        raise Broken(f"Goodbye was not the last frame: {last.kind} came behind it", rule)
    await bench.until(
        bench.proxy.streams[stream].closed_by_worker.is_set,
        "the stream was not half-closed after Goodbye",
        rule=rule,
    )
    if process.exit_code != 0:
        raise Broken(f"the process has ended with {process.exit_code}: {process.output()[-300:]}", "R11.5")


@point("stop-idle", "R11.4 R11.5", fresh=True)
async def stop_idle(bench: Bench) -> None:
    """A worker without tasks says Goodbye on SIGTERM and ends with exit code 0."""
    bench.process.terminate()
    await _leave(bench, "R11.4")


@point("stop-busy", "R11.1 R11.2 R11.3 R11.4 R11.5", fresh=True)
async def stop_busy(bench: Bench) -> None:
    """On SIGTERM a worker asks for nothing more, finishes what it has, waits for the acks, and leaves then."""
    tape = bench.tape
    run = await bench.start(step("sleep", map=True, params={"seconds": 1.5}), input=[None] * 3)
    tokens = await bench.executing(run, 3)
    bench.process.terminate()
    await bench.until(
        lambda: all(any(tape.results(token)) for token in tokens) or bench.process.exit_code is not None,
        "the tasks at hand were not answered after SIGTERM",
        within_s=PATIENCE_S + 2,
        rule="R11.2",
    )
    if not all(any(tape.results(token)) for token in tokens):
        raise Broken("the process has ended without an answer for the tasks at hand", "R11.2")
    answered = [tape.frames.index(frame) for frame, result in tape.results() if result.token in tokens]
    await _leave(bench, "R11.4")
    if tape.granted(min(answered)):
        raise Broken("slots that became free after SIGTERM were granted again", "R11.1")
    goodbye = tape.frames.index(tape.sent("goodbye")[-1])
    acked = {
        ack.token
        for frame in tape.received("ack_batch")
        if tape.frames.index(frame) < goodbye
        for ack in frame.body.acks
    }
    if missing := set(tokens) - acked:
        raise Broken(f"Goodbye came before {len(missing)} results had their acks", "R11.3")
    outcomes = {result.WhichOneof("outcome") for _, result in tape.results() if result.token in tokens}
    if outcomes == {"completed"}:
        await run.completed()
    elif outcomes - {"completed", "released"}:
        raise Broken("a task at hand was failed by the stop; finish it, or hand it back as released", "R11.2")


@point("stop-late-tasks", "R11.2", fresh=True, optional=True)
async def stop_late_tasks(bench: Bench) -> None:
    """Tasks that come while a worker stops, for credits granted before, are handed back as released, or executed."""
    tape = bench.tape
    run = await bench.start(step("sleep", params={"seconds": 3}))
    await bench.executing(run, 1)
    bench.process.terminate()
    await bench.quiet(0.7)  # the signal has arrived: nothing in the stream shows that
    late = await bench.start(step("echo", map=True), input=[1, 2, 3])
    await _end(bench)
    left = max((frame.at for frame in tape.sent("goodbye")), default=time.monotonic())
    came = [
        task.token
        for frame in tape.received("task_batch")
        for task in frame.body.tasks
        if task.run_id == late.id and frame.at < left - _READ_S
    ]
    if ignored := [token for token in came if not any(tape.results(token))]:
        raise Broken(f"{len(ignored)} of {len(came)} tasks that came while the worker stopped were never answered")


@point("stop-alone", "R11.5", fresh=True)
async def stop_alone(bench: Bench) -> None:
    """A worker that no coordinator takes ends on SIGTERM all the same, with exit code 0."""
    bench.proxy.refusing, bench.proxy.refused = grpc.StatusCode.UNAVAILABLE, 0
    bench.stream.cut()
    await bench.until(lambda: bench.proxy.refused > 0, "the worker did not try to connect again", rule="R7.5")
    bench.process.terminate()
    await _end(bench, where="without a coordinator ")
    if bench.process.exit_code != 0:
        raise Broken(f"the process has ended with {bench.process.exit_code}: {bench.process.output()[-300:]}")
