"""Many tasks at once."""

from __future__ import annotations

import collections

from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.runs import step


@point("volume", "R3.7 R4.5 R2.3", concurrency=400, handlers=("count", "echo"), limit_s=240.0)
async def volume(bench: Bench) -> None:
    """Many tasks of one map are all executed, each exactly once, over one stream."""
    count = bench.volume
    run = await bench.start(step("count", map=True), input=b"[" + b",".join([b"0"] * count) + b"]")
    output = (await run.completed(230.0))["count"]
    lines = collections.Counter(line for line in bench.process.log() if line.startswith(f"count {run.id}:"))
    if again := sum(1 for times in lines.values() if times > 1):
        raise Broken(f"{again} of {count} tasks were executed more than once")
    if len(lines) != count:
        raise Broken(f"{len(lines)} of {count} tasks were executed: the log lacks the others")
    if len(set(output)) != count:
        raise Broken(f"{count - len(set(output))} results of {count} are another task's")
    if len(bench.tape.hellos()) != 1:
        raise Broken(f"the worker opened {len(bench.tape.hellos())} streams under load", "R6.1")
    most = max(len(frame.body.results) for frame in bench.tape.sent("result_batch"))
    if most > 500:
        raise Broken(f"a frame carries {most} results; at most 500 are allowed", "R4.5")
    if (claimed := bench.tape.claimed(bench.tape.stream)) > bench.process.concurrency:
        raise Broken(f"at rest the worker has granted {claimed} credits with {bench.process.concurrency} slots", "R2.3")
