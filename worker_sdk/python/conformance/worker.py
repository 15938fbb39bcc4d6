"""The worker that `stepgres conformance` judges for the Python SDK: the standard handlers of docs/conformance.md.

    stepgres conformance -- python worker_sdk/python/conformance/worker.py

Only the SDK's public names are used: what passes here is what every user of the SDK has.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from stepgres_worker import Context, TaskError, Worker

_DEFAULT_CONCURRENCY = 10
_CANCEL_WAIT_S = 60.0

_folder = Path(os.environ.get("STEPGRES_CONFORMANCE_DIR", "."))
_counted = 0


def _log(line: str) -> None:
    """Appends a line in one write, so that lines of several processes do not mix."""
    descriptor = os.open(_folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


async def echo(given: Any) -> Any:
    """Returns its input."""
    return given


async def params(_given: Any, ctx: Context) -> Any:
    """Returns its params."""
    return ctx.params


async def fail_then_succeed(_given: Any, ctx: Context) -> dict[str, int]:
    """Fails `times` times, then returns the attempt."""
    if ctx.attempt <= ctx.params["times"]:
        raise TaskError("as planned", code="PLANNED")
    return {"attempt": ctx.attempt}


async def non_retryable(_given: Any) -> None:
    """Fails for good."""
    raise TaskError("as planned", code="NO_RETRY", retryable=False)


async def retry_after(_given: Any, ctx: Context) -> dict[str, int]:
    """Fails once and asks for the delay `retry_after_s`."""
    if ctx.attempt == 1:
        raise TaskError("as planned", code="LATER", retry_after_s=ctx.params["retry_after_s"])
    return {"attempt": ctx.attempt}


async def raise_error(_given: Any) -> None:
    """Raises an ordinary exception."""
    raise ValueError("boom")


async def sleep(_given: Any, ctx: Context) -> dict[str, float]:
    """Waits for `seconds`."""
    await asyncio.sleep(ctx.params["seconds"])
    return {"slept": ctx.params["seconds"]}


async def sleep_until_cancelled(_given: Any, ctx: Context) -> None:
    """Waits until it is cancelled, and writes that down."""
    try:
        await asyncio.sleep(_CANCEL_WAIT_S)
    except asyncio.CancelledError:
        _log(f"cancelled {ctx.idempotency_key}")
        raise


async def progress(_given: Any, ctx: Context) -> None:
    """Reports that it is half way, then waits for `seconds`."""
    ctx.progress(0.5, "half way")
    await asyncio.sleep(ctx.params["seconds"])


async def big(_given: Any, ctx: Context) -> str:
    """Returns `bytes` letters."""
    return "x" * int(ctx.params["bytes"])


async def run_input(_given: Any, ctx: Context) -> int | None:
    """Asks for the run's input and returns its length."""
    found = await ctx.run_input()
    return len(found) if isinstance(found, list) else None


async def count(_given: Any, ctx: Context) -> int:
    """Counts executions and writes each down."""
    global _counted  # noqa: PLW0603 one number for the process is what it is asked for
    _counted += 1
    _log(f"count {ctx.idempotency_key}")
    return _counted


async def invalid_output(_given: Any) -> float:
    """Returns what is not JSON."""
    return float("nan")


async def crash(_given: Any) -> dict[str, bool]:
    """Ends the process the first time."""
    mark = _folder / "crashed"
    if not mark.exists():
        mark.touch()
        os._exit(70)
    return {"crashed": True}


async def nothing(_given: Any) -> None:
    """Does nothing."""


_HANDLERS = (
    echo, params, fail_then_succeed, non_retryable, retry_after, raise_error, sleep, sleep_until_cancelled, progress,
    big, run_input, count, invalid_output, crash,
)  # fmt: skip


def main() -> None:
    """Serves the handlers that are asked for until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    worker = make_worker()
    worker.run()


def make_worker() -> Worker:
    """The worker, as the environment asks for it."""
    asked = os.environ.get("STEPGRES_CONFORMANCE_HANDLERS")
    names = asked.split(",") if asked else [handler.__name__ for handler in _HANDLERS]
    worker = Worker(concurrency=int(os.environ.get("STEPGRES_CONFORMANCE_CONCURRENCY", _DEFAULT_CONCURRENCY)))
    for handler in _HANDLERS:
        if handler.__name__ in names:
            schema = {"type": "object"} if handler is params else None
            worker.step(handler.__name__, params_schema=schema)(handler)
    # Other names do nothing: the same program measures what the SDK costs.
    for name in set(names) - {handler.__name__ for handler in _HANDLERS}:
        worker.step(name)(nothing)
    return worker


if __name__ == "__main__":
    main()
