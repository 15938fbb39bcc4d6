"""Runs handlers: coroutines on the loop, functions in threads, and frees a slot whenever one returns.

An asyncio.Task a task would cost 4-6 µs. Most of it is not needed while a handler does not suspend: a *runner* is one
asyncio.Task that executes queued tasks one after the other, each in a context of its own. The first that suspends
keeps the runner for itself (so `asyncio.current_task()`, `timeout()` and cancellation mean what they should); what
stands behind it, and its handler's next tasks, get runners of their own, until one does not suspend any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections import deque
from typing import TYPE_CHECKING, Any

from . import _json, _outcome
from ._context import Context
from ._deadlines import Deadlines
from ._threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from stepgres.v1 import worker_pb2

    from ._clock import Clock
    from ._context import Host
    from ._outcome import Outcome
    from ._registry import Handler

#: A runner lets the loop breathe after so many executions that did not suspend.
_BURST = 256
#: How long cancelled coroutines may clean up when the worker ends.
_CLOSE_S = 5.0


class Execution:
    """A leased task in the hands of its handler."""

    __slots__ = (
        "coroutine",
        "dropped",
        "error",
        "finished",
        "handler",
        "host",
        "outcome",
        "received",
        "runner",
        "task",
        "timeout_s",
        "token",
    )

    def __init__(
        self, task: worker_pb2.LeasedTask, token: bytes, handler: Handler, received: float, host: Host
    ) -> None:
        self.task = task
        self.token = token
        self.handler = handler
        #: Clock time of its receipt.
        self.received = received
        self.host = host
        #: Nobody wants its result any more: cancelled, lost, timed out or released.
        self.dropped = False
        #: Its handler has returned: the slot is free.
        self.finished = False
        #: What the handler raised, for the worker's log; None when it raised nothing.
        self.error: BaseException | None = None
        #: What a thread made of it; None while unknown.
        self.outcome: Outcome | None = None
        #: What a function in a thread returned, when that was a coroutine.
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        #: The asyncio.Task it is suspended in.
        self.runner: asyncio.Task[None] | None = None
        #: Seconds from receipt to its deadline; 0 until somebody asks.
        self.timeout_s = 0

    def call(self, value: Any) -> Any:
        """Calls the handler with its decoded input."""
        handler = self.handler
        return handler.function(value, Context(self)) if handler.with_context else handler.function(value)

    def failed(self, error: BaseException) -> Outcome:
        """What is sent for an exception of its handler."""
        self.error = error
        return _outcome.failed(error, self.handler)

    def run_in_thread(self) -> None:
        """Decodes, calls and encodes; leaves `outcome`, or `coroutine` when the function made one."""
        if self.dropped:
            return
        try:
            value = _json.loads(self.task.input)
        except (ValueError, RecursionError) as error:
            self.outcome = _outcome.not_decoded(error)
            return
        try:
            result = self.host.context.copy().run(self.call, value)
        except BaseException as error:  # noqa: BLE001 whatever a handler raises fails its task and nothing else
            self.outcome = self.failed(error)
            return
        if type(result) is types.CoroutineType:
            self.coroutine = result
        else:
            self.outcome = _outcome.completed(result, self.host.max_output_bytes)


class Executor:
    """Executes leased tasks in up to `concurrency` slots.

    Args:
        host: what handlers reach through their context.
        clock: for deadlines.
        concurrency: most threads; the number of tasks is bounded by the credits that the session grants.
        done: called on the loop when a handler has returned, with what is to be sent; None when nobody wants it.
        expired: called on the loop when a handler has not returned at its deadline; it must drop the execution.
    """

    def __init__(
        self,
        host: Host,
        clock: Clock,
        concurrency: int,
        *,
        done: Callable[[Execution, Outcome | None], None],
        expired: Callable[[Execution], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._done = done
        self._queue: deque[Execution] = deque()
        self._running = False
        self._runners: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines(clock, expired)
        self._threads = Threads(self._loop, concurrency, self._thread_done)
        #: Slots in use, also by handlers whose result nobody wants any more.
        self.busy = 0
        #: What the loop executes or executed last; for the watchdog.
        self.current: Execution | None = None

    def submit(self, execution: Execution) -> None:
        """Takes a slot and starts the handler, on the loop at its next turn or in a thread."""
        self.busy += 1
        if execution.handler.on_loop:
            self._enqueue(execution)
        else:
            execution.timeout_s = execution.task.timeout_s
            self._deadlines.add(execution)
            self._threads.submit(execution)

    def drop(self, execution: Execution) -> None:
        """Stops a handler as far as that is possible: a coroutine is cancelled, a thread sees `ctx.cancelled`."""
        execution.dropped = True
        if execution.runner is not None:
            execution.runner.cancel()

    async def close(self) -> None:
        """Cancels the coroutines, waits for them, and lets threads end when they can."""
        self._deadlines.close()
        self._threads.close()
        runners = list(self._runners)
        for runner in runners:
            runner.cancel()
        if runners:
            await asyncio.wait(runners, timeout=_CLOSE_S)  # a handler that ignores its cancellation is left behind

    def _finish(self, execution: Execution, outcome: Outcome | None) -> None:
        self.busy -= 1
        execution.finished = True
        self._done(execution, outcome)

    def _thread_done(self, execution: Execution) -> None:
        if execution.coroutine is None:
            self._finish(execution, execution.outcome)
            return
        self._enqueue(execution)

    def _enqueue(self, execution: Execution) -> None:
        if execution.handler.suspends:
            self._start_runner(deque((execution,)))
            return
        self._queue.append(execution)
        if not self._running:
            self._running = True
            self._start_runner(self._queue)

    def _start_runner(self, queue: deque[Execution]) -> None:
        self._runners.add(self._loop.create_task(self._run(queue), name="stepgres-runner"))

    async def _run(self, queue: deque[Execution]) -> None:
        try:
            await self._work(queue)
        finally:
            self._runners.discard(asyncio.current_task())

    @types.coroutine
    def _work(self, queue: deque[Execution]) -> Generator[Any, Any, None]:
        """One runner's life; a generator, since it hands on what its handlers yield to the loop."""
        finish, copy = self._finish, self._host.context.copy
        loads, completed, limit = _json.loads, _outcome.completed, self._host.max_output_bytes
        for _ in range(_BURST):
            if not queue:
                break
            execution = queue.popleft()
            coroutine, future = execution.coroutine, None
            if execution.dropped:
                self._skip(execution)
                continue
            self.current = execution
            if coroutine is None:
                try:
                    value = loads(execution.task.input)
                except (ValueError, RecursionError) as error:
                    finish(execution, _outcome.not_decoded(error))
                    continue
                try:
                    coroutine = execution.call(value)
                except BaseException as error:  # noqa: BLE001 as below: a decorator's code, before there is a coroutine
                    finish(execution, execution.failed(error))
                    continue
            context = copy()
            try:
                future = context.run(coroutine.send, None)
            except StopIteration as stop:
                finish(execution, completed(stop.value, limit))
            except BaseException as error:  # noqa: BLE001 whatever a handler raises fails its task and nothing else
                finish(execution, execution.failed(error))
            else:
                self._lend_runner(execution, queue)
                yield from self._follow(execution, coroutine, context, future)
                return
            execution.handler.suspends = False
        if queue is self._queue:
            self._running = bool(queue)
            if queue:
                self._start_runner(queue)

    def _skip(self, execution: Execution) -> None:
        """Nobody wants it any more, and it has not begun."""
        if execution.coroutine is not None:
            execution.coroutine.close()
        self._finish(execution, None)

    def _lend_runner(self, execution: Execution, queue: deque[Execution]) -> None:
        """The present runner belongs to a suspended execution from now on."""
        execution.handler.suspends = True
        execution.runner = asyncio.current_task()
        execution.timeout_s = execution.task.timeout_s
        self._deadlines.add(execution)
        if queue is self._queue:
            self._running = False
            while queue:
                self._start_runner(deque((queue.popleft(),)))

    def _follow(
        self,
        execution: Execution,
        coroutine: Coroutine[Any, Any, Any],
        context: contextvars.Context,
        future: Any,
    ) -> Generator[Any, Any, None]:
        """Drives a suspended handler to its end."""
        while True:
            step, argument = coroutine.send, None
            try:
                argument = yield future
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 thrown in by the loop, such as a cancellation
                step, argument = coroutine.throw, error
            self.current = execution
            outcome: Outcome | None
            try:
                future = context.run(step, argument)
                continue
            except StopIteration as stop:
                outcome = _outcome.completed(stop.value, self._host.max_output_bytes)
            except BaseException as error:  # noqa: BLE001 whatever a handler raises fails its task and nothing else
                outcome = execution.failed(error)
            self._finish(execution, None if execution.dropped else outcome)
            return
