"""The worker's side of the protocol in `worker.proto`, without any I/O: frames in, frames out, state in between.

States of a lease: received ─▶ executing (`leases`) ─▶ result kept (`kept`) ─▶ acknowledged (gone).
The slot of a task and its lease end independently: a handler that timed out keeps its slot until it returns, although
its failure is on its way already; a result that waits for its ack needs no slot.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from typing import TYPE_CHECKING

from stepgres.v1 import worker_pb2

from . import _convert, _outcome
from ._executor import Execution
from ._failures import Attempts, log_failure
from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._clock import Clock
    from ._context import Host
    from ._executor import Executor
    from ._outcome import Outcome
    from ._registry import Registry

logger = logging.getLogger("stepgres_worker")

PROTOCOL_VERSION = 1
MAX_RESULTS_PER_FRAME = 500
#: Frames are cut at this size even where the coordinator would take larger ones.
CUT_BYTES = 1024 * 1024
#: Stop asking for tasks when so many results wait for their acks (or twice the concurrency, if that is more).
MAX_KEPT = 1_000
#: Bytes of a result beside its output.
_OVERHEAD = 128
_FINAL_AND_QUIET = frozenset(
    {worker_pb2.ACK_VERDICT_RECORDED, worker_pb2.ACK_VERDICT_DUPLICATE, worker_pb2.ACK_VERDICT_STALE}
)


def _ignore() -> None:
    """Nobody listens."""


class Session:
    """One worker's session over all its streams.

    Args:
        name: the worker's name for people.
        subscriptions: what it serves.
        registry: the functions behind it.
        concurrency: slots; never more tasks are asked for than are free.
        grace_ms: how long tasks wait for a resume when the stream breaks; 0 = the server's default.
        clock: for BUSY and for deadlines.
        host: handed to executions.
    """

    def __init__(
        self,
        name: str,
        subscriptions: Sequence[worker_pb2.Subscription],
        registry: Registry,
        *,
        concurrency: int,
        grace_ms: int,
        clock: Clock,
        host: Host,
    ) -> None:
        self._hello = worker_pb2.Hello(
            worker=name[:200],
            instance_id=secrets.token_bytes(16),
            min_protocol_version=PROTOCOL_VERSION,
            max_protocol_version=PROTOCOL_VERSION,
            sdk_language="python",
            sdk_version=__version__,
            subscriptions=subscriptions,
            reconnect_grace_ms=grace_ms,
        )
        self._registry = registry
        self._clock = clock
        self._host = host
        self.concurrency = concurrency
        #: How many attempts the steps have, as far as that is known here; for the log.
        self.attempts = Attempts()
        self.executor: Executor
        #: Executing, by token.
        self.leases: dict[bytes, Execution] = {}
        #: Results that no ack has answered yet, by token.
        self.kept: dict[bytes, Outcome] = {}
        #: Tasks asked for on the present stream and not received yet.
        self.credits = 0
        #: No more tasks are wanted: the worker stops.
        self.stopping = False
        #: No more tasks are wanted on this stream: its coordinator goes away.
        self.draining = False
        #: Called when there is something to send; set by the active link.
        self.wake: Callable[[], None] = _ignore
        #: Called when nothing is executing or kept any more while stopping.
        self.on_idle: Callable[[], None] = _ignore
        self.welcome = worker_pb2.Welcome(lease_ms=15_000, heartbeat_ms=5_000, max_credits=1)
        self._outbox: deque[bytes] = deque()
        self._progress: dict[bytes, tuple[float, str]] = {}
        self._stream_count = 0
        self._beat_wanted = False
        self._frame_bytes = CUT_BYTES

    # ------------------------------------------------------------------------------------------------ streams

    @property
    def idle(self) -> bool:
        """Nothing is executing and nothing waits for an ack."""
        return not self.leases and not self.kept

    def hello(self) -> worker_pb2.WorkRequest:
        """The first frame of a stream: opens the session, or resumes it with all that is held."""
        hello = worker_pb2.Hello()
        hello.CopyFrom(self._hello)
        hello.session_id = self.welcome.session_id
        if hello.session_id:
            hello.held_tokens.extend(self.leases)
            hello.held_tokens.extend(self.kept)
        return worker_pb2.WorkRequest(hello=hello)

    def attach(self, welcome: worker_pb2.Welcome, wake: Callable[[], None]) -> None:
        """A stream was welcomed: credits begin anew, and all kept results are sent again."""
        if self.welcome.session_id and not welcome.resumed:
            self._drop(list(self.leases) + list(self.kept), "its session has ended")
        self.welcome = welcome
        self._stream_count += 1
        self._frame_bytes = min(CUT_BYTES, welcome.max_frame_bytes or CUT_BYTES)
        if welcome.max_output_bytes:
            self._host.max_output_bytes = welcome.max_output_bytes
        self.credits, self.draining = 0, False
        self._outbox = deque(self.kept)
        self.wake = wake
        wake()

    def detach(self, wake: Callable[[], None]) -> None:
        """The stream that `wake` belongs to is gone: tasks go on, results wait. No-op when it is not the present one."""
        if self.wake == wake:
            self.credits = 0
            self.wake = _ignore

    # -------------------------------------------------------------------------------------------- frames in

    def receive_tasks(self, tasks: Iterable[worker_pb2.LeasedTask]) -> None:
        """Starts leased tasks; each uses up a credit."""
        leases, kept, registry, host = self.leases, self.kept, self._registry, self._host
        submit, now = self.executor.submit, self._clock.time()
        for task in tasks:
            token = task.token
            if self.credits:
                self.credits -= 1
            if token in leases or token in kept:
                continue
            handler = registry.get(task.handler)
            if handler is None or self.stopping:
                self._keep(token, _outcome.RELEASED)
                continue
            execution = leases[token] = Execution(task, token, handler, now, host)
            submit(execution)

    def receive_acks(self, acks: Iterable[worker_pb2.Ack]) -> None:
        """Forgets what is committed or refused; what was BUSY is sent again later."""
        forget = self.kept.pop
        busy: dict[int, list[bytes]] = {}
        for ack in acks:
            verdict, token = ack.verdict, ack.token
            if verdict in _FINAL_AND_QUIET:
                forget(token, None)
            elif verdict == worker_pb2.ACK_VERDICT_BUSY:
                busy.setdefault(ack.retry_after_ms, []).append(token)
            else:
                forget(token, None)
                logger.warning("a result was refused: %s: %s", _convert.reason_name(ack.reason), ack.message)
        for retry_after_ms, tokens in busy.items():
            self._send_later(tokens, retry_after_ms / 1000)
        self._changed()

    def receive_cancel(self, frame: worker_pb2.CancelTasks) -> None:
        """Stops the tasks of runs that have ended; their results interest nobody."""
        self._drop(frame.tokens, frame.reason or "its run has ended", level=logging.DEBUG)

    def receive_lost(self, frame: worker_pb2.LeaseLost) -> None:
        """Stops tasks that belong to somebody else now and forgets their results."""
        self._drop(frame.tokens, frame.reason or "its lease is lost")

    # ------------------------------------------------------------------------------------- from the executor

    def finish(self, execution: Execution, outcome: Outcome | None) -> None:
        """A handler has returned and its slot is free; `outcome` None = nobody wants to know."""
        token = execution.token
        if outcome is not None and self.leases.pop(token, None) is not None:
            self.kept[token] = outcome
            self._outbox.append(token)
            if type(outcome) is worker_pb2.Failed:
                log_failure(execution, outcome, self.attempts.most(execution.task))
        self.wake()
        if self.stopping:
            self._changed()

    def expire(self, execution: Execution) -> None:
        """A handler's time is up: its failure goes out now, its slot is free when it returns."""
        if self.leases.pop(execution.token, None) is None:
            return
        self.executor.drop(execution)
        failure = _outcome.timed_out(execution.timeout_s)
        self._keep(execution.token, failure)
        log_failure(execution, failure, self.attempts.most(execution.task))
        if not execution.handler.on_loop:
            logger.warning(
                "handler %s did not return within its %s s and cannot be stopped: it keeps its slot until it "
                "returns, and its result is dropped; let it look at ctx.cancelled, or raise timeout_s",
                execution.handler.name,
                execution.timeout_s,
            )

    def progress(self, token: bytes, fraction: float, message: str) -> None:
        """Notes how far a task is, for the next heartbeat; from any thread."""
        self._progress[token] = (fraction, message)

    # -------------------------------------------------------------------------------------------- stopping

    def stop(self) -> None:
        """Asks for no more tasks."""
        self.stopping = True
        self._changed()

    def release(self) -> None:
        """Hands back everything that is still executing."""
        for token, execution in list(self.leases.items()):
            del self.leases[token]
            self.executor.drop(execution)
            self._keep(token, _outcome.RELEASED)

    # ------------------------------------------------------------------------------------------- frames out

    @property
    def has_progress(self) -> bool:
        """A heartbeat would tell something."""
        return bool(self._progress)

    def beat(self) -> None:
        """Sends a heartbeat with the next frames."""
        self._beat_wanted = True
        self.wake()

    def frames(self) -> list[worker_pb2.WorkRequest]:
        """Everything that is to be sent now: results, the free slots granted with them, a heartbeat if wanted."""
        frames = []
        while self._outbox:
            frame = self._result_frame()
            if frame.HasField("result_batch"):
                frames.append(frame)
        granted = self._grant()
        for number, frame in enumerate(frames, 1):
            # To each as many as its results have freed: they are recorded and replaced together.
            batch = frame.result_batch
            batch.credits = granted if number == len(frames) else min(granted, len(batch.results))
            granted -= batch.credits
        if granted:
            frames.append(worker_pb2.WorkRequest(credit_grant=worker_pb2.CreditGrant(credits=granted)))
        if self._beat_wanted:
            self._beat_wanted = False
            frames.append(self._heartbeat())
        return frames

    def _result_frame(self) -> worker_pb2.WorkRequest:
        frame, outbox, kept = worker_pb2.WorkRequest(), self._outbox, self.kept
        add, room, count = frame.result_batch.results.add, self._frame_bytes, 0
        while outbox and count < MAX_RESULTS_PER_FRAME:
            token = outbox.popleft()
            outcome = kept.get(token)
            if outcome is None:  # acknowledged or dropped meanwhile
                continue
            room -= _OVERHEAD + (len(outcome) if isinstance(outcome, bytes) else outcome.ByteSize())
            if room < 0 and count:
                outbox.appendleft(token)
                break
            count += 1
            result = add()
            result.token = token
            if isinstance(outcome, bytes):
                result.completed.output = outcome
            elif isinstance(outcome, worker_pb2.Failed):
                result.failed.CopyFrom(outcome)
            else:
                result.released.SetInParent()
        return frame

    def _grant(self) -> int:
        if self.stopping or self.draining or len(self.kept) > max(MAX_KEPT, 2 * self.concurrency):
            return 0
        limit = min(self.concurrency - self.executor.busy, self.welcome.max_credits or self.concurrency)
        granted = max(0, limit - self.credits)
        self.credits += granted
        return granted

    def _heartbeat(self) -> worker_pb2.WorkRequest:
        beat, reports = worker_pb2.Heartbeat(), self._progress
        while reports and len(beat.progress) < MAX_RESULTS_PER_FRAME:
            token, (fraction, message) = reports.popitem()
            if token in self.leases:
                beat.progress.add(token=token, fraction=fraction, message=message)
        return worker_pb2.WorkRequest(heartbeat=beat)

    # ------------------------------------------------------------------------------------------------ inside

    def _keep(self, token: bytes, outcome: Outcome) -> None:
        self.kept[token] = outcome
        self._outbox.append(token)
        self.wake()

    def _drop(self, tokens: Iterable[bytes], why: str, *, level: int = logging.WARNING) -> None:
        stopped = forgotten = 0
        for token in tokens:
            execution = self.leases.pop(token, None)
            if execution is not None:
                self.executor.drop(execution)
                stopped += 1
            elif self.kept.pop(token, None) is not None:
                forgotten += 1
        if stopped:
            logger.log(level, "stopped %d task(s): %s", stopped, why)
        if forgotten:
            # Nearly always recorded, and only the ack was lost.
            logger.log(min(level, logging.INFO), "%d result(s) need not be sent again: %s", forgotten, why)
        self._changed()

    def _send_later(self, tokens: list[bytes], delay_s: float) -> None:
        stream = self._stream_count

        def send() -> None:
            if stream == self._stream_count:  # a newer stream has sent them already
                self._outbox.extend(token for token in tokens if token in self.kept)
                self.wake()

        self._clock.call_at(self._clock.time() + delay_s, send)

    def _changed(self) -> None:
        """Slots or acks have changed what may be asked for, or whether a stop is complete."""
        if self.stopping:
            if self.idle:
                self.on_idle()
        elif self.credits < self.concurrency - self.executor.busy:
            self.wake()
