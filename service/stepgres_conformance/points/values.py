"""What goes in and comes out: inputs, params, outputs."""

from __future__ import annotations

import json
import secrets
import uuid

import grpc

from stepgres.v1 import common_pb2, worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.proxy import Stream
from stepgres_conformance.runs import Run, exact, step

_NUMBERS = (
    b"[0, -1, 9007199254740991, 9007199254740993, -9007199254740993, 9223372036854775807, 9223372036854775808, "
    b"18446744073709551617, 123456789012345678901234567890, 0.1, -2.5, 1e-7, 1.5e300]"
)
_TEXTS = [
    "", "plain", "caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\U0001f469\u200d\U0001f680", "\u202eleft", "\u2028\u2029",
    'quote " backslash \\ slash /', "tab\tnewline\n\u0001", "<script>&amp;", "\ufeff", "\U0010ffff",
]  # fmt: skip
_MIB = 1 << 20
#: The largest message, less some room for what stands around the texts in it.
_MESSAGE_BYTES = 20 * _MIB - 4096


@point("numbers-exact", "R3.2")
async def numbers_exact(bench: Bench) -> None:
    """Every number comes back as the same number, integers beyond 2^53 and beyond 64 bits included."""
    run = await bench.start(step("echo"), input=_NUMBERS)
    output = (await run.completed())["echo"]["run"]
    for wanted, found in zip(exact(_NUMBERS), output, strict=True):
        if wanted != found:
            raise Broken(f"{wanted} came back as {found}")


@point("texts-exact", "R3.2")
async def texts_exact(bench: Bench) -> None:
    """Every text comes back character by character, as value and as key."""
    given = {"texts": _TEXTS, "keys": {text: number for number, text in enumerate(_TEXTS)}, "none": None, "yes": True}
    run = await bench.start(step("echo"), input=given)
    output = (await run.completed())["echo"]["run"]
    for wanted, found in zip(_TEXTS, output["texts"], strict=True):
        if wanted != found:
            raise Broken(f"the text {wanted!r} came back as {found!r}")
    if output != exact(json.dumps(given)):
        raise Broken("keys, null or true came back changed")


@point("input-of-steps", "R3.1")
async def input_of_steps(bench: Bench) -> None:
    """A step is given the run's input and the outputs of the steps it depends on."""
    run = await bench.start(
        step("echo", slug="first"), step("echo", slug="second", after=("first",)), input={"question": [1, 2]}
    )
    output = (await run.completed())["second"]
    wanted = {"run": {"question": [1, 2]}, "first": {"run": {"question": [1, 2]}}}
    if output != wanted:
        raise Broken(f"a step that depends on another was given {output!r} instead of {wanted!r}")


@point("input-of-maps", "R3.1")
async def input_of_maps(bench: Bench) -> None:
    """A map's task is given its element and its index."""
    run = await bench.start(step("echo", map=True), input=["a", {"b": 1}, None])
    output = (await run.completed())["echo"]
    wanted = [{"item": item, "index": index} for index, item in enumerate(["a", {"b": 1}, None])]
    if output != wanted:
        raise Broken(f"the tasks of a map were given {output!r} instead of {wanted!r}")


@point("params", "R3.6")
async def params(bench: Bench) -> None:
    """A handler is given its step's params; a step without params has an empty object."""
    wanted = {"text": "caf\u00e9", "nested": {"list": [1, 2.5, None, True]}}
    run = await bench.start(step("params", params=wanted), step("params", slug="none"))
    output = await run.completed()
    if output["params"] != exact(json.dumps(wanted)):
        raise Broken(f"the params {wanted!r} reached the handler as {output['params']!r}")
    if output["none"] != {}:
        raise Broken(f"a step without params gave its handler {output['none']!r} instead of an empty object")


@point("input-large", "R13.2")
async def input_large(bench: Bench) -> None:
    """A task may come in a message of 20 MiB, beyond what libraries accept by default."""
    given = {"run": {}, **{f"dependency_{number}": text for number, text in enumerate(_texts_of(_MESSAGE_BYTES))}}
    raw = json.dumps(given).encode()

    def with_much(_stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse:
        if not any(task.step == "much" for task in frame.task_batch.tasks):
            return frame
        changed = worker_pb2.WorkResponse()
        changed.CopyFrom(frame)
        for task in changed.task_batch.tasks:
            if task.step == "much":
                task.input = raw
        return changed

    bench.proxy.response_fault = with_much
    run = await bench.start(step("count", slug="much"))
    tape, before = bench.tape, len(bench.tape.ended)
    await bench.until(
        lambda: any(any(tape.results(task.token)) for task in tape.tasks(run.id)),
        lambda: f"no result came for a task of {len(raw)} bytes; {len(tape.ended) - before} streams have ended over it",
    )
    await run.completed()


@point("output-large", "R3.5")
async def output_large(bench: Bench) -> None:
    """An output of exactly Welcome.max_output_bytes is sent."""
    size = bench.tape.welcomed()[-1].body.max_output_bytes - 2  # the quotes
    run = await bench.start(step("big", params={"bytes": size}))
    if (await run.completed())["big"] != "x" * size:
        raise Broken(f"an output of {size + 2} bytes came back changed")


@point("output-too-large", "R3.5")
async def output_too_large(bench: Bench) -> None:
    """A larger output fails its task for good with OUTPUT_TOO_LARGE; the worker goes on."""
    stream = bench.tape.stream
    run = await bench.start(step("big", params={"bytes": _MIB + 100}))
    await _failed_by_itself(bench, run, "OUTPUT_TOO_LARGE")
    await bench.barrier()
    if bench.tape.stream != stream:
        raise Broken("the stream ended over an output that is too large")


@point("output-invalid", "R3.5")
async def output_invalid(bench: Bench) -> None:
    """What is not JSON fails its task for good with INVALID_OUTPUT; the worker and its other tasks go on."""
    stream = bench.tape.stream
    other = await bench.start(step("sleep", params={"seconds": 1}))
    await bench.given(other, 1)
    run = await bench.start(step("invalid_output"))
    await _failed_by_itself(bench, run, "INVALID_OUTPUT")
    if await other.completed() != {"sleep": {"slept": 1}}:
        raise Broken("another task was disturbed by an output that is no JSON")
    if bench.tape.stream != stream or bench.process.exit_code is not None:
        raise Broken("the stream or the process ended over an output that is no JSON")


@point("unknown-handler", "R3.4", fresh=True)
async def unknown_handler(bench: Bench) -> None:
    """A task whose handler the worker does not have is handed back as released."""
    task = worker_pb2.LeasedTask(
        token=secrets.token_bytes(42), run_id=str(uuid.uuid4()), flow="f", version=1, step="s", attempt=1,
        handler="nobody_has_this", timeout_s=30, input=b'{"run": {}}', step_type=common_pb2.STEP_TYPE_SINGLE,
    )  # fmt: skip
    bench.stream.inject(task_batch=worker_pb2.TaskBatch(tasks=[task]))
    await bench.until(lambda: any(bench.tape.results(task.token)), "nothing came back for a task of an unknown handler")
    outcome = next(result.WhichOneof("outcome") for _, result in bench.tape.results(task.token))
    if outcome != "released":
        raise Broken(f"a task of an unknown handler came back as {outcome}")


@point("task-twice", "R3.7", fresh=True)
async def task_twice(bench: Bench) -> None:
    """A task that is delivered twice under one token is executed once."""

    def repeat(stream: Stream, frame: worker_pb2.WorkResponse) -> worker_pb2.WorkResponse:
        if frame.WhichOneof("frame") == "task_batch":
            stream.send(frame)
        return frame

    bench.proxy.response_fault = repeat
    run = await bench.start(step("progress", params={"seconds": 1}), step("count", after=("progress",)))
    await run.completed()
    tokens = [task.token for task in bench.tape.tasks(run.id) if task.step == "progress"]
    await bench.quiet(1.2)  # as long as a second execution would take
    if (sent := sum(1 for _ in bench.tape.results(tokens[0]))) != 1:
        raise Broken(f"a task that was delivered twice has {sent} results")


def _texts_of(size: int) -> list[str]:
    """Texts with so many bytes in all, each of them as large as an output may be."""
    return ["x" * min(_MIB - 2, size - start) for start in range(0, size, _MIB - 2)]


async def _failed_by_itself(bench: Bench, run: Run, code: str) -> None:
    """Checks that the worker itself has failed the only task of a run with a code, for good."""
    error = await run.failed()
    tokens = {task.token for task in bench.tape.tasks(run.id)}
    for _, result in bench.tape.results():
        if result.token in tokens and (result.WhichOneof("outcome"), result.failed.code) != ("failed", code):
            raise Broken(
                f"the worker sent {result.WhichOneof('outcome')} {result.failed.code} instead of the failure {code}"
            )
    if error.code != code or error.attempt != 1:
        raise Broken(f"the task failed with {error.code} in attempt {error.attempt}; it fails with {code} at once")


@point("run-input", "R3.8")
async def run_input(bench: Bench) -> None:
    """The tasks of a map reach the run's input, with the token of one of the run's leases."""
    asked = len(bench.tape.input_calls)
    run = await bench.start(step("run_input", map=True), input=[None] * 20)
    output = (await run.completed())["run_input"]
    if output != [20] * 20:
        raise Broken(f"tasks of a run with an input of 20 elements found {', '.join(sorted(set(map(str, output))))}")
    if strange := set(bench.tape.input_calls[asked:]) - {task.token for task in bench.tape.tasks(run.id)}:
        raise Broken(f"GetRunInput was asked with {strange.pop().hex()[:80]}, the token of none of the run's tasks")


@point("run-input-once", "R3.8", optional=True)
async def run_input_once(bench: Bench) -> None:
    """The worker asks for the input once for each run."""
    for items in (20, 30):
        asked = len(bench.tape.input_calls)
        run = await bench.start(step("run_input", map=True), input=[None] * items)
        await run.completed()
        if (calls := len(bench.tape.input_calls) - asked) != 1:
            raise Broken(f"{items} tasks of one run asked GetRunInput {calls} times; once is enough")


@point("run-input-large", "R13.2")
async def run_input_large(bench: Bench) -> None:
    """GetRunInput may answer with a message of 20 MiB."""
    texts = _texts_of(_MESSAGE_BYTES)
    answer = json.dumps(texts).encode()
    bench.proxy.input_fault = lambda: answer
    run = await bench.start(step("run_input", map=True, max_attempts=1), input=[None] * 2)
    ended = await run.end()
    if ended.status != common_pb2.RUN_STATUS_COMPLETED:
        raise Broken(
            f"an input of {len(answer)} bytes could not be read: {ended.error.code}: {ended.error.message[:200]}"
        )
    if json.loads(ended.output)["run_input"] != [len(texts)] * 2:
        raise Broken(f"of an input with {len(texts)} elements the handlers saw {ended.output[:200].decode()}", "R3.8")


@point("run-input-retried", "R3.8")
async def run_input_retried(bench: Bench) -> None:
    """GetRunInput is asked again after UNAVAILABLE and DEADLINE_EXCEEDED; the task goes on meanwhile."""
    answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE]
    asked: list[grpc.StatusCode] = []

    def away() -> grpc.StatusCode | None:
        if not answers:
            return None
        asked.append(answers.pop(0))
        return asked[-1]

    bench.proxy.input_fault = away
    run = await bench.start(step("run_input", map=True, max_attempts=1), input=[None])
    ended = await run.end()
    if ended.status != common_pb2.RUN_STATUS_COMPLETED:
        answers_were = ", ".join(code.name for code in asked) or "nothing yet"
        raise Broken(f"a task failed with {ended.error.code} though GetRunInput had been answered with {answers_were}")


@point("progress", "R3.9", optional=True)
async def progress(bench: Bench) -> None:
    """What a handler reports reaches the coordinator in a Heartbeat while the task goes on."""
    mark = bench.mark()
    run = await bench.start(step("progress", params={"seconds": 4}))
    (token,) = await bench.given(run, 1)

    def reported() -> bool:
        return any(
            report.token == token and report.fraction == 0.5 and report.message == "half way"
            for frame in bench.tape.sent("heartbeat", mark)
            for report in frame.body.progress
        )

    await bench.until(
        lambda: reported() or token not in bench.tape.in_flight(),
        "the handler's progress (0.5, half way) came in no Heartbeat",
    )
    if not reported():
        raise Broken("the task ended before its progress came in a Heartbeat")
    await run.completed()
