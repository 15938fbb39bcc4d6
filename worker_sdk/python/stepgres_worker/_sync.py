"""Blocking faces of what is asynchronous: each wraps, none repeats. One background event loop serves the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from ._client import AsyncClient
from ._errors import ForkedError, WrongThreadError
from ._run import AsyncRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from ._models import RunSnapshot
    from ._transport import Transport
    from ._worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_END = object()


class Portal:
    """Runs coroutines on an event loop of another thread and waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end; an interrupt of the waiting thread cancels it.

        Raises:
            WrongThreadError: called on the loop's own thread, which would wait for itself.
        """
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self.loop:
                coroutine.close()
                raise WrongThreadError
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise
        except BaseException:
            future.cancel()
            raise


class _Background:
    """The process's background loop: grpc.aio wants one loop a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: Portal | None = None
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # The thread did not come along; a child that never used the loop makes its own.
        self._lock, self._portal = threading.Lock(), None

    def portal(self) -> Portal:
        """The running loop, started at first use."""
        with self._lock:
            if self._portal is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="stepgres-loop", daemon=True).start()
                self._portal = Portal(loop)
            return self._portal


_background = _Background()


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Client, P], R]:
    """The blocking form of a method of AsyncClient: same arguments, same documentation."""

    @functools.wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.wait(method(self.asynchronous, *args, **kwargs))

    return cast("Callable[Concatenate[Client, P], R]", call)


def _blocking_run(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncRun]],
) -> Callable[Concatenate[Client, P], Run]:
    """`_blocking` for methods that return a handle."""

    @functools.wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> Run:
        return Run(self, self.wait(method(self.asynchronous, *args, **kwargs)))

    return cast("Callable[Concatenate[Client, P], Run]", call)


class Client:
    """AsyncClient for synchronous code: every method does the same and blocks. Safe to use from many threads.

    Args:
        target: host:port or a gRPC target (`dns:///name:port`); None = STEPGRES_TARGET, else 127.0.0.1:50051.
        timeout_s: deadline of each call, retries included; watching and waiting for results have none.
        transport: for tests; None = gRPC to `target`.
        portal: for tests; None = the process's background loop.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: Transport | None = None,
        portal: Portal | None = None,
    ) -> None:
        #: The client that does the work, on the background loop.
        self.asynchronous = AsyncClient(target, timeout_s=timeout_s, transport=transport)
        self._portal = portal
        self._pid: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the client's loop.

        Raises:
            ForkedError: the client was used before this process was forked.
            WrongThreadError: called on the loop's own thread.
        """
        if self._pid is None:
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            coroutine.close()
            raise ForkedError
        return (self._portal or _background.portal()).wait(coroutine)

    close = _blocking(AsyncClient.close)
    create_flow = _blocking(AsyncClient.create_flow)
    register = _blocking(AsyncClient.register)
    validate_flow = _blocking(AsyncClient.validate_flow)
    apply_flow = _blocking(AsyncClient.apply_flow)
    add_step = _blocking(AsyncClient.add_step)
    get_flow = _blocking(AsyncClient.get_flow)
    list_flows = _blocking(AsyncClient.list_flows)
    delete_flow = _blocking(AsyncClient.delete_flow)
    list_handlers = _blocking(AsyncClient.list_handlers)
    list_workers = _blocking(AsyncClient.list_workers)
    list_queues = _blocking(AsyncClient.list_queues)
    start_run = _blocking_run(AsyncClient.start_run)
    start_runs = _blocking(AsyncClient.start_runs)
    get_run = _blocking(AsyncClient.get_run)
    list_runs = _blocking(AsyncClient.list_runs)
    list_tasks = _blocking(AsyncClient.list_tasks)
    get_task = _blocking(AsyncClient.get_task)
    cancel_run = _blocking(AsyncClient.cancel_run)
    retry_run = _blocking(AsyncClient.retry_run)
    execute = _blocking(AsyncClient.execute)

    def run(self, run_id: str) -> Run:
        """A handle for a run; asks nobody whether it exists."""
        return Run(self, self.asynchronous.run(run_id))

    def watch(self, run_id: str, cursor: str | None = None) -> Iterator[RunSnapshot]:
        """Follows a run to its end: `run(run_id).watch(cursor)`."""
        return self.run(run_id).watch(cursor)


class Run:
    """A run, by its id; AsyncRun for synchronous code. Make it with `client.start_run(…)` or `client.run(run_id)`."""

    __slots__ = ("_client", "_run")

    def __init__(self, client: Client, run: AsyncRun) -> None:
        self._client = client
        self._run = run

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """UUID of the run."""
        return self._run.id

    @property
    def created(self) -> bool:
        """True when this call has started it."""
        return self._run.created

    @property
    def flow(self) -> str:
        """Slug of its flow, of an inline plan `plan:<hash>`; empty when `client.run` made the handle."""
        return self._run.flow

    def get(self, *, full: bool = True) -> RunSnapshot:
        """Reads the run as it stands; `full` with payloads. Raises NotFound."""
        return self._client.wait(self._run.get(full=full))

    def cancel(self, *, reason: str = "") -> bool:
        """Ends the run; False when it had ended before. Raises NotFound."""
        return self._client.wait(self._run.cancel(reason=reason))

    def retry(self) -> bool:
        """Lets the run go on that failed or was cancelled; see `AsyncRun.retry`."""
        return self._client.wait(self._run.retry())

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and returns the output; see `AsyncRun.result`."""
        return self._client.wait(self._run.result(timeout))

    def watch(self, cursor: str | None = None, *, full: bool = False) -> Iterator[RunSnapshot]:
        """Follows the run until it has ended; see `AsyncRun.watch`."""
        snapshots = self._run.watch(cursor, full=full)
        try:
            while (snapshot := self._client.wait(_next(snapshots))) is not _END:
                yield cast("RunSnapshot", snapshot)
        finally:
            self._client.wait(_close(snapshots))


async def _next(snapshots: AsyncGenerator[RunSnapshot, None]) -> object:
    return await anext(snapshots, _END)


async def _close(snapshots: AsyncGenerator[RunSnapshot, None]) -> None:
    await snapshots.aclose()


def run_worker(worker: Worker, *, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
    """Serves on the background loop; the calling thread waits, and on the main thread hears signals.

    Args:
        worker: what to serve.
        signals: the first of these drains, the second hands everything back at once.
    """
    loop = _background.portal().loop
    serving = asyncio.run_coroutine_threadsafe(worker.serve(), loop)
    ended = threading.Event()
    serving.add_done_callback(lambda _: ended.set())
    heard = 0

    def hear(_number: int, _frame: object) -> None:
        nonlocal heard
        heard += 1
        loop.call_soon_threadsafe(functools.partial(worker.stop, now=heard > 1))

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, hear) for number in signals} if main else {}
    try:
        # Not for ever: the kernel may deliver a signal to another thread, and its handler then runs when this one wakes.
        while not ended.wait(0.5):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    serving.result()
