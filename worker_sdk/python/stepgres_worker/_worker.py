"""The worker: leases tasks over one stream, executes them, and survives whatever happens to the stream."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from stepgres.v1 import worker_pb2

from . import _convert, _rpc
from ._client import AsyncClient
from ._clock import LoopClock, full_jitter_s
from ._deadlines import DrainDeadline
from ._errors import AlreadyExists, DeadlineExceeded, RequestError, StepgresError, Unavailable
from ._executor import Executor
from ._failures import Attempts
from ._hints import did_you_mean, name_of
from ._host import WorkerHost
from ._link import Link
from ._outage import Outage
from ._registry import Registry
from ._session import Session
from ._transport import GrpcTransport
from ._watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._clock import Clock
    from ._flow import Flow
    from ._transport import Transport

logger = logging.getLogger("stepgres_worker")
Function = TypeVar("Function", bound="Callable[..., Any]")

#: A stream that lived so long was healthy: the next reconnect begins with the shortest wait again.
_HEALTHY_S = 5.0
#: Longest wait between two tries for as long as a lease lasts after the break: several fall into the grace.
_RESUMING_CAP_S = 1.0
#: The same later, when nothing is left to be saved.
_CAP_S = 10.0
#: How long a leaving worker waits for the coordinator to close the stream.
_GOODBYE_S = 2.0
#: Answers to Hello that no second try will change.
_FATAL = frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})


class Worker:
    """Serves handlers: leases their tasks, executes up to `concurrency` at a time, and sends the results.

    `Worker(flow).run()` blocks and drains on SIGTERM; in async code `await worker.serve()`.

    Args:
        flows: registered as by `client.register` before serving; their functions are served.
        target: host:port or a gRPC target (`dns:///name:port`); None = STEPGRES_TARGET, else 127.0.0.1:50051.
        concurrency: most tasks executed at a time, 1-10,000; the worker never has more.
        scope: serve only runs of this scope, up to 128 characters; empty = the common one.
        name: for people, up to 200 characters; None = `<host>:<process id>`.
        drain_timeout_s: on a stop, how long running handlers may take until they are cancelled and handed back.
        reconnect_grace_s: how long the tasks wait when the stream breaks, up to the lease; None = the server's, 2 s.
        transport: for tests, such as `testing.FakeTransport`; None = gRPC to `target`.
        clock: for tests; None = the event loop's.
    """

    def __init__(
        self,
        *flows: Flow,
        target: str | None = None,
        concurrency: int = 100,
        scope: str = "",
        name: str | None = None,
        drain_timeout_s: float = 30.0,
        reconnect_grace_s: float | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.concurrency = concurrency
        self._flows = flows
        self._scope = scope
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._drain_timeout_s = drain_timeout_s
        self._grace_ms = round((reconnect_grace_s or 0) * 1000)
        self._own_transport = transport is None
        self._transport: Transport = GrpcTransport(target) if transport is None else transport
        self._given_clock = clock
        self._registry = Registry()
        self._attempts = Attempts()
        self._take_handlers_of_flows()
        self._clock: Clock
        self._session: Session
        self._subscription: worker_pb2.Subscription
        self._host: WorkerHost
        self._outage: Outage
        self._watchdog: Watchdog
        self._changed: asyncio.Event
        self._serving = False
        self._stop_asked = False
        self._stop_now = False
        #: A stream is being opened and has not been welcomed yet; the worker is about to end.
        self._greeting = self._ending = False
        #: Streams in a row that were welcomed and broke soon after.
        self._short_lived = 0
        #: Done when a coordinator has welcomed it, or when it has ended without that.
        self._ready: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------------------------------------ public

    @property
    def concurrency(self) -> int:
        """Most tasks executed at a time, 1-10,000; a change counts from the next `serve` on."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, tasks: int) -> None:
        if not 1 <= tasks <= 10_000:
            raise ValueError(f"concurrency is {tasks}; it is 1 to 10,000")
        self._concurrency = tasks

    @property
    def handlers(self) -> tuple[str, ...]:
        """Names of the handlers it serves."""
        return tuple(self._registry)

    def step(
        self,
        handler: str,
        *,
        flow: Flow | str | None = None,
        non_retryable: Iterable[type[BaseException]] = (),
        params_schema: Mapping[str, Any] | type | None = None,
    ) -> Callable[[Function], Function]:
        """Decorates a handler: `(input)` or `(input, ctx)`, sync (runs in a thread) or async (runs on the loop).

        The catalogue shows the first paragraph of its docstring, and JSON Schemas from its type hints.

        Args:
            handler: the name that steps refer to.
            flow: serve the step `handler` of this flow: the name becomes `<flow>.<handler>`.
            non_retryable: exceptions that fail the task for good, whatever attempts are left.
            params_schema: JSON Schema of the step's params, shown in the catalogue, or a TypedDict, dataclass or pydantic
                model that tells it; None = unknown.

        Returns:
            A decorator that leaves the function as it is.

        Raises:
            ValueError: the name is bound to another function, `flow` has no such step, or the worker serves already.
            TypeError: the function can be called in neither way, or `params_schema` tells no schema.
        """
        if not isinstance(handler, str):  # @worker.step without parentheses would register nothing
            raise TypeError(f"worker.step takes the handler's name: write @worker.step({name_of(handler)!r})")
        if self._serving:
            raise ValueError(f"handler {handler}: the worker serves already; add handlers before")
        slug = flow if isinstance(flow, str) or flow is None else _slug_of(flow, handler)

        def decorate(function: Function) -> Function:
            name = f"{slug}.{handler}" if slug else handler
            self._registry.add(name, function, non_retryable=non_retryable, params_schema=params_schema)
            return function

        return decorate

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains; a second signal stops at once.

        Blocks the calling thread; handlers run on the process's background event loop and in threads.

        Raises:
            AlreadyExists: a flow of this worker exists with another shape.
            RequestError: the coordinator refuses this worker, such as for a bad handler name.
        """
        from ._sync import run_worker

        run_worker(self)

    async def serve(self) -> None:
        """Serves until `stop` is called, then drains. Cancelling it hands everything back at once.

        Raises:
            AlreadyExists: a flow of this worker exists with another shape.
            RequestError: the coordinator refuses this worker, such as for a bad handler name.
            ValueError: it has no handlers, serves already, or a handler's description or schema is too large.
        """
        if self._serving:
            raise ValueError("this worker serves already")
        try:
            await self._serve()
        except BaseException as error:
            self._never_ready(error)
            raise
        self._never_ready(None)

    async def _serve(self) -> None:
        self._take_handlers_of_flows()
        if not self._registry:
            raise ValueError("this worker has no handlers: give it a Flow with steps, or use @worker.step")
        self._subscription = self._registry.subscription(self._scope)
        self._serving, self._changed = True, asyncio.Event()
        self._clock = self._given_clock or LoopClock()
        self._host = WorkerHost(self._transport, self._clock)
        self._host.session = self._session = self._new_session()
        self._outage = Outage(self._name, self._transport.target, self._clock)
        executor = self._session.executor
        self._watchdog = Watchdog(executor, asyncio.get_running_loop(), self._session.welcome.lease_ms / 1000)
        try:
            if await self._registered():
                self._watchdog.start()
                await self._supervise()
        finally:
            self._watchdog.stop()
            await executor.close()
            await self._host.close()
            if self._own_transport:
                await self._transport.close()
            self._serving = self._stop_asked = self._stop_now = self._greeting = self._ending = False

    def stop(self, *, now: bool = False) -> None:
        """Asks a serving worker to stop; returns at once, `serve` returns when it is done. Call it on the loop.

        Args:
            now: hand running tasks back instead of waiting for them.
        """
        self._stop_asked = True
        self._stop_now = self._stop_now or now
        if self._serving:
            self._session.stop()
            self._changed.set()

    async def wait_ready(self) -> None:
        """Waits until the worker has been welcomed by a coordinator.

        Raises:
            RuntimeError: it ended without that; its cause is why.
        """
        # Shielded: several may wait, and one that gives up must not take the answer from the others.
        await asyncio.shield(self._readiness())

    # ------------------------------------------------------------------------------------------------ inside

    def _take_handlers_of_flows(self) -> None:
        """Serves the steps of its flows, those too that were added after the worker was made."""
        for flow in self._flows:
            maps = flow.map_handlers()
            for handler, function in flow.handlers().items():
                known = self._registry.get(handler)
                if known is None or known.function is not function:
                    self._registry.add(handler, function, is_map=handler in maps)
                elif known.is_map:
                    known.is_map = handler in maps

    def _readiness(self) -> asyncio.Future[None]:
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
        return self._ready

    def _never_ready(self, error: BaseException | None) -> None:
        """Tells those who still wait that there is nothing to wait for."""
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            failure = RuntimeError(f"the worker ended before a coordinator welcomed it: {error or 'it was stopped'}")
            failure.__cause__ = error
            ready.set_exception(failure)
            ready.exception()  # looked at, or asyncio complains where those who waited have gone

    def _new_session(self) -> Session:
        session = Session(
            self._name,
            [self._subscription],
            self._registry,
            concurrency=self.concurrency,
            grace_ms=self._grace_ms,
            clock=self._clock,
            host=self._host,
        )
        session.executor = Executor(
            self._host, self._clock, self.concurrency, done=session.finish, expired=session.expire
        )
        session.attempts = self._attempts
        session.on_idle = self._changed.set
        session.stopping = self._stop_asked
        return session

    async def _registered(self) -> bool:
        """Registers the flows; False when a stop came first."""
        registering = asyncio.create_task(self._register())
        registering.add_done_callback(lambda _: self._changed.set())
        try:
            while not registering.done() and not self._stop_asked:
                await self._changed.wait()
                self._changed.clear()
            if registering.done():
                registering.result()
            return not self._stop_asked
        finally:
            registering.cancel()
            await asyncio.gather(registering, return_exceptions=True)

    async def _register(self) -> None:
        """Creates the flows; waits for a coordinator as long as it takes."""
        client = AsyncClient(transport=self._transport)
        for flow in self._flows:
            attempt, request = 0, _convert.create_request(flow)
            while True:
                try:
                    # Tried once at a time: the client's own patience would hide an outage from the log.
                    response = await client.call(_rpc.CREATE_FLOW, request, retry=False)
                    self._attempts.learn(_convert.flow_info(response.flow))
                    break
                except AlreadyExists as error:
                    error.add_note(f"flow {flow.slug}: use Flow(…, new_version=True) to add a version, or another slug")
                    raise
                except (Unavailable, DeadlineExceeded) as error:
                    attempt += 1
                    self._outage.failed(error)
                    await self._clock.sleep(full_jitter_s(attempt, random.random, cap_s=_CAP_S))

    async def _supervise(self) -> None:
        """Keeps one stream open; while its coordinator drains, opens the next one before it lets it go."""
        link: Link | None = None
        opening: asyncio.Task[Link] | None = None
        deadline = DrainDeadline(self._clock, self._drain_timeout_s, self._changed.set)
        try:
            while True:
                if opening is not None and opening.done():
                    old, link, opening = link, opening.result(), None
                    if old is not None:
                        await old.close()
                if self._done(deadline):
                    break
                if opening is None and (link is None or link.ended or link.draining):
                    opening = asyncio.create_task(self._open(link))
                    opening.add_done_callback(lambda _: self._changed.set())
                await self._changed.wait()
                self._changed.clear()
        finally:
            deadline.cancel()
            await asyncio.shield(asyncio.ensure_future(self._end(link, opening)))

    async def _end(self, link: Link | None, opening: asyncio.Task[Link] | None) -> None:
        """Says Goodbye on whichever stream has the session; after a failure or a cancel it hands everything back."""
        self._session.stopping = True
        self._session.release()
        if opening is not None:
            self._ending = True
            if self._greeting:
                # Hello is on its way: without a Goodbye that session would live on for a whole lease.
                await asyncio.wait({opening}, timeout=_GOODBYE_S)
            opening.cancel()
            (opened,) = await asyncio.gather(opening, return_exceptions=True)
            if isinstance(opened, Link):
                if link is not None:
                    await link.close()
                link = opened
        if link is not None and not link.ended:
            goodbye = worker_pb2.WorkRequest(goodbye=worker_pb2.Goodbye(reason="the worker stops"))
            await link.leave(goodbye, _GOODBYE_S)
        elif link is not None:
            await link.close()

    def _done(self, deadline: DrainDeadline) -> bool:
        """Whether it is time to say Goodbye: all is done, or there is no more time."""
        if not self._stop_asked:
            return False
        deadline.start()
        return deadline.passed or self._stop_now or self._session.idle

    async def _open(self, old: Link | None) -> Link:
        """Opens a stream, again and again with full jitter."""
        since = self._clock.time()
        attempt = self._short_lived = self._next_attempt(old)
        if old is not None and old.ended and not old.draining:
            self._outage.lost(old.error, len(self._session.leases))
            await self._pause(attempt, since)
        while True:
            link = Link(self._transport.open_work(), self._session, self._clock, self._changed.set)
            try:
                if old is not None:
                    old.supersede()
                self._greeting = True
                await link.open()
            except BaseException as error:
                if old is not None:
                    old.restore()
                await link.close()
                if not isinstance(error, StepgresError) or _is_fatal(error) or self._ending:
                    raise
                attempt += 1
                self._outage.failed(error)
                self._greeting = False
                await self._pause(attempt, since)
            else:
                self._greeting = False
                self._welcomed()
                return link

    async def _pause(self, attempt: int, since: float) -> None:
        welcome = self._session.welcome
        resumable = bool(welcome.session_id) and self._clock.time() - since < welcome.lease_ms / 1000
        cap_s = _RESUMING_CAP_S if resumable else _CAP_S
        await self._clock.sleep(full_jitter_s(attempt, random.random, cap_s=cap_s))

    def _next_attempt(self, old: Link | None) -> int:
        """How many tries the backoff has seen: streams that were welcomed and broke at once count."""
        if old is None or old.draining or self._clock.time() - old.welcomed >= _HEALTHY_S:
            return 0
        return self._short_lived + 1

    def _welcomed(self) -> None:
        welcome = self._session.welcome
        self._watchdog.limit_s = welcome.lease_ms / 3000
        self._outage.over(
            coordinator=welcome.coordinator,
            resumed=welcome.resumed,
            handlers=len(self._registry),
            slots=self.concurrency,
        )
        if not self._readiness().done():
            self._readiness().set_result(None)


def _slug_of(flow: Flow, handler: str) -> str:
    """The slug of a flow that has a step of this name, or no steps in code."""
    step = next((step for step in flow.steps if step.slug == handler), None)
    if step is None and flow.steps:
        names = [step.slug for step in flow.steps]
        guess = did_you_mean(handler, names)
        raise ValueError(f"flow {flow.slug} has no step {handler!r}; its steps are {', '.join(names)}{guess}")
    if step is not None and step.handler:
        raise ValueError(
            f"flow {flow.slug}: step {handler} is served under the name {step.handler!r}; write "
            f"@worker.step({step.handler!r}) without flow"
        )
    return flow.slug


def _is_fatal(error: StepgresError) -> bool:
    return isinstance(error, RequestError) and error.code in _FATAL
