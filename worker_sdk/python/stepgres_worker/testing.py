"""What unit tests of handlers need: a coordinator in memory, without a database and without gRPC.

    async def test_double():
        fake = FakeTransport()
        async with fake.serving(Worker(flow, transport=fake)):
            assert await fake.run_task("etl.double", {"item": 2, "index": 0}) == 4

It speaks the worker protocol with one worker: hands out tasks against credits, records results once, answers acks, and
on demand loses the stream, drains, cancels, takes leases away or is busy. It does not know flows: tasks come from the
test, and a task that fails or is handed back is not tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from stepgres.v1 import common_pb2, flow_pb2, run_pb2, worker_pb2

from . import _json
from ._errors import Unavailable, Unimplemented, request_error
from ._fake_stream import FakeStream, FakeTask, TaskFailed, TaskReleased
from ._manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from ._errors import StepgresError
    from ._rpc import Req, Res, Rpc
    from ._transport import WorkStream
    from ._worker import Worker

__all__ = ["FakeTask", "FakeTransport", "ManualClock", "TaskFailed", "TaskReleased"]


class FakeTransport:
    """A coordinator in memory for one worker, and a seam for the calls of a client.

    Args:
        lease_ms: Welcome.lease_ms.
        heartbeat_ms: Welcome.heartbeat_ms.
        max_credits: Welcome.max_credits.
        max_output_bytes: Welcome.max_output_bytes.
        max_frame_bytes: Welcome.max_frame_bytes.
    """

    def __init__(
        self,
        *,
        lease_ms: int = 15_000,
        heartbeat_ms: int = 5_000,
        max_credits: int = 10_000,
        max_output_bytes: int = 1024 * 1024,
        max_frame_bytes: int = 1024 * 1024,
    ) -> None:
        self.target = "fake"
        self.welcome = worker_pb2.Welcome(
            protocol_version=1,
            lease_ms=lease_ms,
            heartbeat_ms=heartbeat_ms,
            max_credits=max_credits,
            max_output_bytes=max_output_bytes,
            max_frame_bytes=max_frame_bytes,
            coordinator="fake",
        )
        #: Streams in the order in which they were opened.
        self.streams: list[FakeStream] = []
        #: Everything the worker sent, on whichever stream.
        self.frames: list[worker_pb2.WorkRequest] = []
        #: Unary requests in their order, as (name of the call, message).
        self.calls: list[tuple[str, Any]] = []
        #: The latest progress by token.
        self.progress: dict[bytes, tuple[float, str]] = {}
        #: Acks that were sent.
        self.acks: list[worker_pb2.Ack] = []
        #: The most tasks that were in the worker's hands at one time.
        self.most_leased = 0
        #: New streams are refused with this while it is set.
        self.refuse: StepgresError | None = None
        self._answers: dict[str, Callable[[Any], Any]] = {"GetRunInput": self._run_input, "CreateFlow": _created}
        self._watches: dict[str, Callable[[Any], AsyncGenerator[Any, None]]] = {}
        self._queue: deque[FakeTask] = deque()
        self._leased: dict[bytes, FakeTask] = {}
        self._recorded: set[bytes] = set()
        self._session_id = b""
        self._instance_id = b""
        self._busy: list[int] = []
        self._held_acks: list[worker_pb2.Ack] | None = None
        self._changed = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()

    # --------------------------------------------------------------------------------------------- for tests

    @contextlib.asynccontextmanager
    async def serving(self, worker: Worker) -> AsyncIterator[Worker]:
        """Runs a worker for the length of a `with` block, from its Welcome to its Goodbye."""
        serving = asyncio.create_task(worker.serve())
        ready = asyncio.create_task(worker.wait_ready())
        try:
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving  # it ended, so it failed
            yield worker
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            worker.stop()
            await serving

    def send_task(
        self,
        handler: str,
        input: Any = None,
        *,
        params: Any = None,
        flow: str = "",
        step: str = "",
        index: int = 0,
        attempt: int = 1,
        timeout_s: int = 30,
        run_id: str | None = None,
        run_input: Any = None,
        is_map: bool = False,
        scope: str = "",
    ) -> FakeTask:
        """Queues a task; the worker gets it when it has a credit.

        Args:
            handler: name of the handler.
            input: what it gets; `bytes` are JSON already; None = `{"run": {}}`.
            params: the step's constants; None = {}.
            flow: `ctx.flow`; empty = the handler's name up to the last dot.
            step: `ctx.step`; empty = the handler's name after the last dot.
            index: `ctx.index`.
            attempt: `ctx.attempt`, from 1.
            timeout_s: seconds it may take.
            run_id: UUID of its run; None = a run of its own.
            run_input: what GetRunInput answers.
            is_map: its step is a map.
            scope: scope of its run.
        """
        message = worker_pb2.LeasedTask(
            run_id=run_id or str(uuid.uuid4()),
            flow=flow or handler.rpartition(".")[0],
            version=1,
            step=step or handler.rpartition(".")[2],
            task_index=index,
            attempt=attempt,
            handler=handler,
            params=_json.dumps(params) if params is not None else b"",
            timeout_s=timeout_s,
            input=b'{"run":{}}' if input is None else _json.encode_input(input),
            step_type=common_pb2.STEP_TYPE_MAP if is_map else common_pb2.STEP_TYPE_SINGLE,
            scope=scope,
        )
        task = FakeTask(message, _json.encode_input(run_input))
        self._queue.append(task)
        self._hand_out()
        return task

    async def run_task(self, handler: str, input: Any = None, **options: Any) -> Any:
        """`send_task`, then waits for the output.

        Raises:
            TaskFailed: the handler failed; with .code .message .details .retryable .retry_after_s.
            TaskReleased: the worker handed it back.
        """
        return await self.send_task(handler, input, **options).result()

    def answer(self, name: str, function: Callable[[Any], Any]) -> None:
        """Sets what a unary call answers: a function from the request to the response, which may raise."""
        self._answers[name] = function

    def answer_watch(self, function: Callable[[run_pb2.WatchRunRequest], AsyncGenerator[Any, None]]) -> None:
        """Sets what WatchRun streams."""
        self._watches["WatchRun"] = function

    @property
    def stream(self) -> FakeStream:
        """The newest stream that was welcomed."""
        return next(stream for stream in reversed(self.streams) if stream.open)

    @property
    def leased(self) -> int:
        """Tasks in the worker's hands."""
        return len(self._leased)

    def of(self, kind: str) -> list[Any]:
        """Frames of one kind that the worker sent, such as `hello` or `result_batch`."""
        return [getattr(frame, kind) for frame in self.frames if frame.WhichOneof("frame") == kind]

    @property
    def grants(self) -> list[int]:
        """Credits of each frame that granted any, in the order in which they came."""
        granted = (
            frame.result_batch.credits if frame.HasField("result_batch") else frame.credit_grant.credits
            for frame in self.frames
        )
        return [credits for credits in granted if credits]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition on this object holds; looks whenever the worker sent something."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def disconnect(self, error: StepgresError | None = None) -> None:
        """Breaks the stream; None = as a lost connection does."""
        self.stream.end(error or Unavailable("the connection was lost", code="UNAVAILABLE"))

    def drain(self, deadline_ms: int = 10_000) -> FakeStream:
        """Announces that this stream will be closed; returns it."""
        stream = self.stream
        stream.credits = 0
        stream.send(drain=worker_pb2.Drain(deadline_ms=deadline_ms, reason="test"))
        return stream

    def cancel(self, task: FakeTask) -> None:
        """The task's run has ended."""
        self._leased.pop(task.token, None)
        task.give_up(asyncio.CancelledError())
        self.stream.send(cancel_tasks=worker_pb2.CancelTasks(tokens=[task.token], reason="test"))

    def lose(self, task: FakeTask) -> None:
        """The task belongs to another worker now."""
        self._leased.pop(task.token, None)
        task.give_up(asyncio.CancelledError())
        self.stream.send(lease_lost=worker_pb2.LeaseLost(tokens=[task.token], reason="test"))

    def expire_session(self) -> None:
        """Forgets the session: a resume will be refused."""
        self._session_id = b""

    def ping(self) -> None:
        """Asks for a sign of life."""
        self.stream.send(ping=worker_pb2.Ping())

    def busy(self, *retry_after_ms: int) -> None:
        """Answers as many results with BUSY as numbers are given."""
        self._busy.extend(retry_after_ms)

    def hold_acks(self) -> None:
        """Records results, but keeps the acks back until `release_acks`."""
        self._held_acks = []

    def release_acks(self) -> None:
        """Sends the acks that were kept back."""
        acks, self._held_acks = self._held_acks, None
        if acks:
            self._send_acks(self.stream, acks)

    # ------------------------------------------------------------------------------------------ as Transport

    async def call(self, rpc: Rpc[Req, Res], request: Req, *, timeout_s: float) -> Res:
        """One unary call: what `answer` was told, or Unimplemented."""
        del timeout_s
        self.calls.append((rpc.name, request))
        answer = self._answers.get(rpc.name)
        if answer is None:
            raise Unimplemented(f"FakeTransport: use fake.answer({rpc.name!r}, …) first", code="UNIMPLEMENTED")
        return cast("Res", answer(request))

    def watch(self, request: run_pb2.WatchRunRequest) -> AsyncGenerator[run_pb2.WatchRunResponse, None]:
        """WatchRun: what `answer_watch` was told."""
        self.calls.append(("WatchRun", request))
        if "WatchRun" not in self._watches:
            raise Unimplemented("FakeTransport: use fake.answer_watch(…) first", code="UNIMPLEMENTED")
        return self._watches["WatchRun"](request)

    def open_work(self) -> WorkStream:
        """A new stream."""
        stream = FakeStream(self._received, self._ended)
        self.streams.append(stream)
        return stream

    async def close(self) -> None:
        """Ends every stream."""
        for stream in self.streams:
            stream.cancel()

    # ------------------------------------------------------------------------------------- as the coordinator

    def _received(self, stream: FakeStream, frame: worker_pb2.WorkRequest) -> None:
        self.frames.append(frame)
        kind = frame.WhichOneof("frame")
        if kind == "hello":
            self._hello(stream, frame.hello)
        elif kind == "credit_grant":
            stream.credits += frame.credit_grant.credits
            self._hand_out()
        elif kind == "result_batch":
            self._results(stream, frame.result_batch)
            stream.credits += frame.result_batch.credits
            self._hand_out()
        elif kind == "heartbeat":
            for report in frame.heartbeat.progress:
                self.progress[report.token] = (report.fraction, report.message)
        elif kind == "goodbye":
            self._session_id = b""
            self._requeue(set())
        self._notify()

    def _hello(self, stream: FakeStream, hello: worker_pb2.Hello) -> None:
        if self.refuse is not None:
            stream.end(self.refuse)
            return
        resumed = bool(hello.session_id) and (hello.session_id, hello.instance_id) == (
            self._session_id,
            self._instance_id,
        )
        welcome = worker_pb2.Welcome()
        welcome.CopyFrom(self.welcome)
        welcome.resumed = resumed
        welcome.session_id = self._session_id = hello.session_id if resumed else secrets.token_bytes(16)
        self._instance_id = hello.instance_id
        for other in self.streams:
            if other is not stream and other.open:
                other.end(request_error("ABORTED", "resumed elsewhere", reason="SESSION_TAKEN"))
        stream.open = True
        stream.send(welcome=welcome)
        if hello.session_id and not resumed and hello.held_tokens:
            stream.send(lease_lost=worker_pb2.LeaseLost(tokens=hello.held_tokens, reason="the session has expired"))
        self._requeue(set(hello.held_tokens) if resumed else set())

    def _requeue(self, held: set[bytes]) -> None:
        for token, task in list(self._leased.items()):
            if token not in held:
                del self._leased[token]
                task.leased = False
                self._queue.append(task)

    def _hand_out(self) -> None:
        stream = next((stream for stream in reversed(self.streams) if stream.open), None)
        if stream is None:
            return
        batch = worker_pb2.TaskBatch()
        while self._queue and stream.credits > 0:
            stream.credits -= 1
            task = self._queue.popleft()
            batch.tasks.append(task.lease())
            self._leased[task.token] = task
        self.most_leased = max(self.most_leased, len(self._leased))
        if batch.tasks:
            stream.send(task_batch=batch)

    def _results(self, stream: FakeStream, batch: worker_pb2.ResultBatch) -> None:
        acks = [self._result(result) for result in batch.results]
        if self._held_acks is not None:
            self._held_acks += acks
        else:
            self._send_acks(stream, acks)

    def _result(self, result: worker_pb2.Result) -> worker_pb2.Ack:
        token = result.token
        task = self._leased.get(token)
        if task is not None:
            task.results.append(result)
        if self._busy:
            return worker_pb2.Ack(token=token, verdict=worker_pb2.ACK_VERDICT_BUSY, retry_after_ms=self._busy.pop(0))
        if task is None:
            doubled = token in self._recorded
            verdict = worker_pb2.ACK_VERDICT_DUPLICATE if doubled else worker_pb2.ACK_VERDICT_STALE
            return worker_pb2.Ack(token=token, verdict=verdict)
        del self._leased[token]
        self._recorded.add(token)
        task.record(result)
        return worker_pb2.Ack(token=token, verdict=worker_pb2.ACK_VERDICT_RECORDED)

    def _send_acks(self, stream: FakeStream, acks: list[worker_pb2.Ack]) -> None:
        self.acks += acks
        stream.send(ack_batch=worker_pb2.AckBatch(acks=acks))

    def _ended(self, stream: FakeStream) -> None:
        stream.credits = 0
        self._notify()

    def _notify(self) -> None:
        notice = asyncio.get_running_loop().create_task(self._tell())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _run_input(self, request: worker_pb2.GetRunInputRequest) -> worker_pb2.GetRunInputResponse:
        task = self._leased.get(request.token)
        if task is None:
            raise request_error("NOT_FOUND", "the lease is not held", reason="INVALID_TOKEN")
        return worker_pb2.GetRunInputResponse(input=task.run_input)


def _created(request: flow_pb2.CreateFlowRequest) -> flow_pb2.CreateFlowResponse:
    """CreateFlow accepts everything."""
    steps = [flow_pb2.Step(definition=definition, step_index=index) for index, definition in enumerate(request.steps)]
    flow = flow_pb2.Flow(slug=request.slug, version=1, latest_version=1, steps=steps, step_count=len(steps))
    return flow_pb2.CreateFlowResponse(flow=flow, created=True)
