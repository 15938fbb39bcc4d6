"""What a handler may know and do besides its input."""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import TYPE_CHECKING, Any, Protocol

from stepgres.v1 import common_pb2

from . import _json

if TYPE_CHECKING:
    import contextvars
    from collections.abc import MutableMapping

    from ._clock import Clock
    from ._executor import Execution

_logger = logging.getLogger("stepgres.task")
MESSAGE_CHARACTERS = 200


class Host(Protocol):
    """The worker as its contexts see it."""

    clock: Clock
    #: Copied for each execution, so that no handler sees another's context variables.
    context: contextvars.Context
    #: Largest output of one task.
    max_output_bytes: int

    def progress(self, token: bytes, fraction: float, message: str) -> None:
        """Notes how far a task is; from any thread."""

    async def run_input(self, execution: Execution) -> bytes:
        """The run's input, asked for once per run."""

    def wait(self, coroutine: Any) -> Any:
        """Runs a coroutine on the worker's loop and waits for it in another thread."""

    def client(self, *, blocking: bool) -> Any:
        """A client on the worker's connection."""


class _TaskLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the task's coordinates into each record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merges the coordinates with the caller's `extra`."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


class Context:
    """The second argument of a handler: which task it executes, and what it may tell about it."""

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __repr__(self) -> str:
        return f"Context({self.idempotency_key!r}, attempt={self.attempt})"

    @property
    def run_id(self) -> str:
        """UUID of the run."""
        return self._execution.task.run_id

    @property
    def flow(self) -> str:
        """Slug of the flow."""
        return self._execution.task.flow

    @property
    def version(self) -> int:
        """Version of the flow."""
        return self._execution.task.version

    @property
    def step(self) -> str:
        """Slug of the step."""
        return self._execution.task.step

    @property
    def index(self) -> int:
        """0 for a single step, the element's index for a map."""
        return self._execution.task.task_index

    @property
    def attempt(self) -> int:
        """From 1: failures and timeouts so far, plus 1."""
        return self._execution.task.attempt

    @property
    def handler(self) -> str:
        """Name of the handler."""
        return self._execution.handler.name

    @property
    def scope(self) -> str:
        """Scope of the run; empty for the common one."""
        return self._execution.task.scope

    @property
    def traceparent(self) -> str:
        """W3C trace context of the run; empty without one."""
        return self._execution.task.traceparent

    @property
    def idempotency_key(self) -> str:
        """`<run_id>:<step>:<index>`, the same for every attempt: the key towards other systems."""
        task = self._execution.task
        return f"{task.run_id}:{task.step}:{task.task_index}"

    @property
    def params(self) -> dict[str, Any]:
        """The step's constants, decoded at each access."""
        data = self._execution.task.params
        params: dict[str, Any] = _json.loads(data) if data else {}
        return params

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        execution = self._execution
        return execution.received + execution.task.timeout_s - execution.host.clock.time()

    @property
    def deadline(self) -> datetime.datetime:
        """When this attempt times out, in UTC."""
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.remaining_s)

    @property
    def cancelled(self) -> bool:
        """True when nobody wants the result any more: the run ended, the lease is lost, or the time is up.

        Synchronous handlers that take long should look now and then; asynchronous ones are cancelled.
        """
        return self._execution.dropped

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logger `stepgres.task` whose records carry run_id, flow, step, index and attempt."""
        task = self._execution.task
        return _TaskLog(
            _logger,
            {
                "run_id": task.run_id,
                "flow": task.flow,
                "step": task.step,
                "task_index": task.task_index,
                "attempt": task.attempt,
            },
        )

    @property
    def client(self) -> Any:
        """A client on the worker's connection: AsyncClient in an async handler, Client in a sync one."""
        return self._execution.host.client(blocking=_in_thread())

    def progress(self, fraction: float, message: str = "") -> None:
        """Tells how far the task is; the last report of a second is sent.

        Args:
            fraction: 0 to 1; what lies outside is clamped.
            message: for people, cut at 200 characters.
        """
        execution = self._execution
        if not execution.dropped:
            clamped = min(1.0, max(0.0, fraction))
            # Lone surrogates and U+0000 are no text on the wire, and one bad report would spoil its whole frame.
            text = message[:MESSAGE_CHARACTERS].replace("\0", " ").encode(errors="replace").decode()
            execution.host.progress(execution.token, clamped, text)

    def run_input(self) -> Any:
        """The input of the run, which a map's tasks do not carry; asked for once per run and worker.

        Returns:
            The decoded input; in an async handler an awaitable of it.

        Raises:
            NotFound: the lease is not held any more.
        """
        if _in_thread():
            return self._execution.host.wait(self._run_input())
        return self._run_input()

    async def _run_input(self) -> Any:
        execution = self._execution
        if execution.task.step_type != common_pb2.STEP_TYPE_MAP:
            return _json.loads(execution.task.input)["run"]
        return _json.loads(await execution.host.run_input(execution))


def _in_thread() -> bool:
    """Whether the caller is a synchronous handler: no event loop runs in its thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
