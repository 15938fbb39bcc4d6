"""Hello and the catalogue."""

from __future__ import annotations

import asyncio
import json

import grpc

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.proxy import Stream

#: The standard handlers of docs/conformance.md.
STANDARD = frozenset(
    {
        "echo", "params", "fail_then_succeed", "non_retryable", "retry_after", "raise_error", "sleep",
        "sleep_until_cancelled", "progress", "big", "run_input", "count", "invalid_output", "crash",
    }
)  # fmt: skip
#: Seconds for which Welcome is held back.
_HOLD_S = 0.7


@point("hello-fields", "R1.3 R1.4")
async def hello_fields(bench: Bench) -> None:
    """Hello names the worker, its instance, its SDK and the protocol versions it speaks."""
    hello = bench.tape.hellos()[0].body
    if not 1 <= len(hello.worker) <= 200:
        raise Broken(f"Hello.worker has {len(hello.worker)} characters; it has 1 to 200")
    if len(hello.instance_id) != 16:
        raise Broken(f"Hello.instance_id has {len(hello.instance_id)} bytes; it has 16")
    if len(set(hello.instance_id)) < 4:
        raise Broken(f"Hello.instance_id is {hello.instance_id.hex()}, which is not random")
    if hello.session_id or hello.held_tokens:
        raise Broken("the first Hello of a process names a session or tokens; it has none yet")
    if not hello.sdk_language or not hello.sdk_version:
        raise Broken("Hello.sdk_language or Hello.sdk_version is empty")
    if not 1 <= hello.min_protocol_version <= 1 <= hello.max_protocol_version:
        raise Broken(
            f"Hello says protocol versions {hello.min_protocol_version} to {hello.max_protocol_version}; version 1 must "
            "be among them",
            "R1.4",
        )


@point("catalogue", "R1.5 R1.6")
async def catalogue(bench: Bench) -> None:
    """Hello lists every handler once, in the empty scope, with a description of one line and the schema of `params`."""
    subscriptions = bench.tape.hellos()[0].body.subscriptions
    handlers = [handler for s in subscriptions if s.scope == "" for handler in s.handlers]
    names = [handler.name for handler in handlers]
    if len(names) != len(set(names)):
        raise Broken(f"handlers are listed twice: {', '.join(sorted(names))}")
    if missing := STANDARD - set(names):
        raise Broken(f"handlers are missing in the empty scope: {', '.join(sorted(missing))}")
    for handler in handlers:
        if handler.name in STANDARD and (not handler.description.strip() or "\n" in handler.description.strip()):
            raise Broken(f"the description of {handler.name} is {handler.description!r}; it is one line", "R1.6")
    schema = next(handler.params_schema for handler in handlers if handler.name == "params")
    try:
        found = json.loads(schema)
    except ValueError:
        raise Broken(f"the params_schema of `params` is {schema[:200]!r}, which is not JSON", "R1.6") from None
    if not isinstance(found, dict) or found.get("type") != "object":
        raise Broken(f"the params_schema of `params` is {schema[:200]!r}; its type is object", "R1.6")


@point("hello-first", "R1.1 R1.2 R1.5", handlers=("echo", "params"), fresh=True)
async def hello_first(bench: Bench) -> None:
    """Hello is the first frame, nothing follows before Welcome, and only the handlers asked for are listed."""
    await bench.stop_worker()
    tape = bench.proxy.begin()
    held: list[asyncio.Task[None]] = []

    async def let_go(stream: Stream, frame: worker_pb2.WorkResponse) -> None:
        await asyncio.sleep(_HOLD_S)
        stream.send(frame)

    def hold_welcome(stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse | None:
        if frame.WhichOneof("frame") != "welcome":
            return frame
        held.append(asyncio.create_task(let_go(stream, frame)))
        return None

    bench.proxy.response_fault = hold_welcome
    await bench.launch(10, ("echo", "params"))
    await asyncio.gather(*held)
    first = next(frame for frame in tape.frames if frame.from_worker)
    if first.kind != "hello":
        raise Broken(f"the first frame is {first.kind or 'unknown'}")
    welcomed = tape.frames.index(tape.welcomed()[0])
    early = [frame.kind for frame in tape.frames[:welcomed] if frame.from_worker and frame is not first]
    if early:
        raise Broken(f"before Welcome the worker sent {', '.join(early)}", "R1.2")
    if len(tape.hellos()) != 1:
        raise Broken(f"Hello came {len(tape.hellos())} times on one stream")
    names = {handler.name for subscription in first.body.subscriptions for handler in subscription.handlers}
    if names != {"echo", "params"}:
        raise Broken(f"asked for echo and params, the worker lists {', '.join(sorted(names))}", "R1.5")


@point("refused-for-good", "R1.7", fresh=True)
async def refused_for_good(bench: Bench) -> None:
    """A refusal that no repetition changes, such as of the protocol version, ends the worker with another code than 0."""
    bench.proxy.refusing, bench.proxy.refused = grpc.StatusCode.FAILED_PRECONDITION, 0
    bench.stream.cut()
    await bench.until(
        lambda: bench.process.exit_code is not None,
        lambda: (
            f"the worker goes on though its Hello was answered {bench.proxy.refused} times with FAILED_PRECONDITION"
        ),
    )
    if bench.process.exit_code == 0:
        raise Broken("the worker has ended with 0 as if all were well, though its Hello was refused for good")
