"""Signs of life, and frames that a worker does not know."""

from __future__ import annotations

import itertools
import time

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.proxy import Stream
from stepgres_conformance.runs import step

#: Heartbeats of a busy machine may come later than they should, in periods; a lease has several. Not all of them do.
_LATE, _LATE_ON_AVERAGE = 2.5, 1.5


@point("heartbeats", "R6.1")
async def heartbeats(bench: Bench) -> None:
    """While a task takes long the worker sends some frame in every heartbeat period, unasked."""

    def without_ping(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse | None:
        return None if frame.WhichOneof("frame") == "ping" else frame

    bench.proxy.response_fault = without_ping
    period_s = bench.tape.welcomed()[-1].body.heartbeat_ms / 1000
    run = await bench.start(step("sleep", params={"seconds": 5.5 * period_s}))
    await bench.given(run, 1)
    stream, begun = bench.tape.stream, time.monotonic()
    await run.completed()
    frames = [f for f in bench.tape.frames if f.from_worker and f.stream == stream and f.at > begun]
    times = [begun, *(f.at for f in frames)]
    silence = max(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else 0.0
    asked = f"Welcome.heartbeat_ms asks for a frame every {period_s:g} s"
    if bench.tape.stream != stream or silence > _LATE * period_s:
        raise Broken(f"nothing came for {silence:.1f} s during a long task; {asked}")
    beats = [f.at for f in frames if f.kind != "result_batch"]  # that one comes when the task is done
    average = (beats[-1] - beats[0]) / (len(beats) - 1) if len(beats) > 1 else 0.0
    if average > _LATE_ON_AVERAGE * period_s:
        raise Broken(f"during a long task a frame came every {average:.1f} s; {asked}")


@point("ping", "R12.1", fresh=True, optional=True)
async def ping(bench: Bench) -> None:
    """A Ping is answered with some frame at once, long before a heartbeat is due."""

    def rare_heartbeats(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse | None:
        if frame.WhichOneof("frame") == "welcome":
            changed = worker_pb2.WorkResponse()
            changed.CopyFrom(frame)
            changed.welcome.heartbeat_ms, changed.welcome.lease_ms = 60_000, 180_000
            return changed
        return None if frame.WhichOneof("frame") == "ping" else frame

    await bench.stop_worker()
    bench.proxy.begin()
    bench.proxy.response_fault = rare_heartbeats
    await bench.launch()
    await bench.quiet(0.5)  # what a worker sends of itself after Welcome is through
    mark = bench.mark()
    bench.stream.inject(ping=worker_pb2.Ping())
    await bench.until(
        lambda: any(frame.from_worker for frame in bench.tape.frames[mark:]),
        "nothing came after a Ping",
        within_s=3.0,  # the coordinator ends a stream that is silent for longer than its lease
    )


@point("unknown-frames", "R12.2")
async def unknown_frames(bench: Bench) -> None:
    """Frames and fields of a later version are ignored: the stream goes on."""
    tape, number = bench.tape, bench.tape.stream
    stream = bench.stream
    # Field 1000 of the oneof, of a length; a frame without anything; a known frame with a field 900 more.
    later = bytes((*_tag(1000, 2), 5)) + b"later"
    for raw in (
        later,
        b"",
        worker_pb2.WorkResponse(ping=worker_pb2.Ping()).SerializeToString() + bytes((*_tag(900, 0), 1)),
    ):
        stream.send_bytes(raw)

    def with_more(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse:
        if frame.WhichOneof("frame") != "task_batch":
            return frame
        changed = worker_pb2.WorkResponse()
        for task in frame.task_batch.tasks:
            more = task.SerializeToString() + bytes((*_tag(900, 2), 3)) + b"new"
            changed.task_batch.tasks.append(worker_pb2.LeasedTask.FromString(more))
        return changed

    bench.proxy.response_fault = with_more
    run = await bench.start(step("echo", map=True), input=[1, 2, 3])
    await run.completed()
    if tape.stream != number or number in tape.ended:
        raise Broken("the worker let its stream go over a frame that it does not know")


def _tag(field: int, wire_type: int) -> tuple[int, int]:
    """Two bytes that begin a field with a number of 16 to 2047."""
    number = field << 3 | wire_type
    return (number & 0x7F | 0x80, number >> 7)
