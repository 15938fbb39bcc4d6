"""Failures and timeouts."""

from __future__ import annotations

from stepgres.v1 import worker_pb2
from stepgres_conformance.bench import Bench
from stepgres_conformance.point import Broken, point
from stepgres_conformance.runs import Run, step


def _failures(bench: Bench, run: Run) -> list[worker_pb2.Failed]:
    """What the worker itself has sent of a run's failures."""
    tokens = {task.token for task in bench.tape.tasks(run.id)}
    return [
        result.failed
        for _, result in bench.tape.results()
        if result.token in tokens and result.WhichOneof("outcome") == "failed"
    ]


@point("failure-retried", "R3.3 R3.6")
async def failure_retried(bench: Bench) -> None:
    """A failure carries its code and message and may be tried again; the handler sees the attempt."""
    run = await bench.start(step("fail_then_succeed", params={"times": 2}))
    output = (await run.completed())["fail_then_succeed"]
    if output != {"attempt": 3}:
        raise Broken(f"after two failures the handler returned {output!r}; it must see attempt 3", "R3.6")
    for failed in _failures(bench, run):
        if (failed.code, failed.message, failed.non_retryable) != ("PLANNED", "as planned", False):
            raise Broken(
                f"the failure PLANNED, as planned, was sent as code {failed.code!r}, message {failed.message!r}, "
                f"non_retryable {failed.non_retryable}"
            )
        if failed.HasField("retry_after_ms"):
            raise Broken(f"a failure without a delay of its own was sent with retry_after_ms {failed.retry_after_ms}")


@point("failure-for-good", "R3.3")
async def failure_for_good(bench: Bench) -> None:
    """A failure that is not to be retried says so."""
    run = await bench.start(step("non_retryable"))
    error = await run.failed()
    if (error.code, error.message, error.attempt) != ("NO_RETRY", "as planned", 1):
        raise Broken(f"the run failed with {error.code}: {error.message}, in attempt {error.attempt}")


@point("retry-after", "R3.3")
async def retry_after(bench: Bench) -> None:
    """A delay that a failure asks for is sent in milliseconds, also when it is 0."""
    await _retried_after(bench, 0.5)
    await _retried_after(bench, 0)


async def _retried_after(bench: Bench, seconds: float) -> None:
    run = await bench.start(step("retry_after", params={"retry_after_s": seconds}, base_delay_s=120))
    await bench.until(lambda: _failures(bench, run), "no failure came from the handler retry_after")
    failed = _failures(bench, run)[0]
    if failed.code != "LATER" or not failed.HasField("retry_after_ms") or failed.retry_after_ms != seconds * 1000:
        asked = failed.retry_after_ms if failed.HasField("retry_after_ms") else "nothing"
        raise Broken(f"retry_after {seconds:g} s was sent as code {failed.code!r} with retry_after_ms {asked}")
    if (await run.completed())["retry_after"] != {"attempt": 2}:
        raise Broken("the second attempt did not see attempt 2", "R3.6")


@point("failure-default", "R3.3")
async def failure_default(bench: Bench) -> None:
    """An ordinary error of the language fails its task with HANDLER_ERROR and its text, and may be tried again."""
    run = await bench.start(step("raise_error", max_attempts=2))
    error = await run.failed()
    if error.code != "HANDLER_ERROR" or "boom" not in error.message:
        raise Broken(f"an error with the text boom failed its task with {error.code}: {error.message[:200]}")
    if error.attempt != 2:
        raise Broken(f"it failed for good in attempt {error.attempt} of 2: ordinary errors may be tried again")
    if bench.process.exit_code is not None:
        raise Broken("the worker process ended over an error of a handler")


@point("timeout", "R9.1 R9.2")
async def timeout(bench: Bench) -> None:
    """A handler that takes longer than timeout_s is stopped by the worker, which sends TIMEOUT itself."""
    run = await bench.start(step("sleep_until_cancelled", timeout_s=1, max_attempts=1))
    await bench.until(
        lambda: _failures(bench, run) or bench.tape.received("lease_lost"),
        "no failure came though the timeout of 1 s has passed",
    )
    failures = _failures(bench, run)
    if not failures:
        raise Broken("the coordinator had to end a task whose timeout of 1 s had passed: the worker sent nothing")
    if failures[0].code != "TIMEOUT":
        raise Broken(f"a timeout was sent with the code {failures[0].code!r}")
    await run.failed()
    await bench.until(
        lambda: f"cancelled {run.id}:sleep_until_cancelled:0" in bench.process.log(),
        "the handler goes on after its timeout",
        rule="R9.2",
    )
