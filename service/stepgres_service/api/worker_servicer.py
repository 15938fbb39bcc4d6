"""The worker's stream: frames in, frames out. Every decision is the engine's."""

# ruff: noqa: N802  the methods are named by the contract

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

import grpc
import orjson
from grpc_status import rpc_status

from stepgres.v1 import worker_pb2, worker_pb2_grpc
from stepgres_service.api.convert_work import (
    FrameWriter,
    hello_from,
    refuse_crowded,
    refuse_long_token,
    schemas_in,
    welcome_to,
)
from stepgres_service.api.payloads import JsonChecker
from stepgres_service.api.schemas import SchemaChecker
from stepgres_service.api.status import to_status
from stepgres_service.engine.registry import Hello
from stepgres_service.engine.results import Outcome, TaskResult, Verdict
from stepgres_service.engine.sessions import AckItem, Session
from stepgres_service.engine.tokens import TOKEN_BYTES, decode_token
from stepgres_service.engine.work import WorkEngine
from stepgres_service.errors import (
    Aborted,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    StepgresError,
    Unavailable,
    Violation,
)

_Context = grpc.aio.ServicerContext[Any, Any]
#: Frames as they come; what cannot be read as one comes as what is wrong with it.
_Requests = AsyncIterator[worker_pb2.WorkRequest | InvalidArgument]

_MAX_RETRY_AFTER_MS = 7 * 24 * 3600 * 1000


class _StreamClosed(StepgresError):
    """The worker closed its side; the stream ends with OK."""


def _refuse(path: str, reason: Reason, message: str) -> InvalidArgument:
    return InvalidArgument(Violation(path, reason, message))


def _text(value: str) -> bytes:
    """A text of a failure for the database, which cannot hold U+0000: a report is worth more than its NULs."""
    return value.replace("\x00", "\ufffd").encode()


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Serves workers.

    Args:
        engine: holds sessions, leases and results.
        payloads: judges what the quick check of an output cannot.
        coordinator: id of this coordinator, for the worker's logs.
    """

    def __init__(self, engine: WorkEngine, payloads: JsonChecker, coordinator: str) -> None:
        self._engine = engine
        self._payloads = payloads
        self._coordinator = coordinator
        self._schemas = SchemaChecker()
        self._hanging_up: set[asyncio.Task[None]] = set()
        self._writer = FrameWriter(engine.definitions, engine.settings)

    async def Work(self, request_iterator: _Requests, context: _Context) -> AsyncIterator[worker_pb2.WorkResponse]:
        """One stream: reads in a task of its own, writes here."""
        hello = await self._hello(request_iterator)
        session, resumed = await self._engine.registry.open(hello)
        session.cut = self._cutter(session, context)
        loop = asyncio.get_running_loop()
        reader: asyncio.Task[None] | None = None
        try:
            yield welcome_to(session, resumed, self._coordinator, self._engine.settings)
            reader = asyncio.create_task(self._read(session, request_iterator), name="reader")
            while True:
                for frame in self._writer.frames(await session.outgoing()):
                    session.writing_since = loop.time()
                    yield frame
                session.writing_since = math.inf
        except _StreamClosed:
            return
        finally:
            if reader is not None:
                reader.cancel()
            self._engine.registry.broken(session)

    def _cutter(self, session: Session, context: _Context) -> Callable[[], None]:
        """Ends the stream whatever it is waiting for; called from its own task."""
        stream = asyncio.current_task()
        assert stream is not None

        async def hang_up() -> None:
            error = session.ended
            if error is None or isinstance(error, _StreamClosed):
                error = Aborted("the worker closed the stream and did not read the rest", reason=Reason.WORKER_SILENT)
            status = rpc_status.to_status(to_status(error))
            with contextlib.suppress(Exception):  # always: abort() raises even when all went well
                await context.abort(status.code, status.details, status.trailing_metadata)

        def cut() -> None:
            # Nothing of ours runs while gRPC waits for the worker to read. The status goes behind what waits: a worker
            # that was only asleep finds it when it wakes up.
            if not stream.done():
                stream.cancel()
                task = asyncio.create_task(hang_up(), name="hang up")
                self._hanging_up.add(task)
                task.add_done_callback(self._hanging_up.discard)

        return cut

    async def _hello(self, requests: _Requests) -> Hello:
        try:
            async with asyncio.timeout(self._engine.settings.lease_s):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise _refuse("hello", Reason.HELLO_REQUIRED, "no frame came; send Hello first") from None
        if isinstance(first, InvalidArgument):
            raise first
        if first.WhichOneof("frame") != "hello":
            raise _refuse("hello", Reason.HELLO_REQUIRED, "the first frame is something else; send Hello first")
        refuse_crowded(first.hello)
        return hello_from(first.hello, await self._schemas.judged(schemas_in(first.hello)))

    # ------------------------------------------------------------------------------------------------ reading

    async def _read(self, session: Session, requests: _Requests) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for request in requests:
                session.last_seen = loop.time()
                if isinstance(request, InvalidArgument):
                    raise request
                match request.WhichOneof("frame"):
                    case "result_batch":
                        await self._results(session, request.result_batch)
                    case "credit_grant":
                        self._grant(session, request.credit_grant)
                    case "heartbeat":
                        self._heartbeat(session, request.heartbeat)
                    case "goodbye":
                        await self._engine.registry.goodbye(session)
                        break
                    case "hello":
                        raise _refuse("hello", Reason.HELLO_REPEATED, "was sent twice; send it once for each stream")
                    case _:
                        pass  # A frame of a later version: ignored, as the protocol says.
            session.end(_StreamClosed())
        except StepgresError as error:
            session.end(error)
        except Exception as error:  # noqa: BLE001  a fault of ours: the writer raises it, the interceptor logs it
            fault = StepgresError("a frame could not be handled", reason=Reason.INTERNAL)
            fault.__cause__ = error
            session.end(fault)

    def _grant(self, session: Session, grant: worker_pb2.CreditGrant) -> None:
        if grant.credits < 1:
            raise _refuse(
                "credit_grant.credits",
                Reason.FIELD_OUT_OF_RANGE,
                f"is {grant.credits}; grant 1 or more, or send nothing",
            )
        session.grant(grant.credits)
        self._engine.completions.kick()

    def _heartbeat(self, session: Session, heartbeat: worker_pb2.Heartbeat) -> None:
        # More than it can hold is nonsense, and would keep all other streams waiting.
        for progress in islice(heartbeat.progress, self._engine.settings.max_credits):
            if progress.token in session.leases:
                message = progress.message.replace("\x00", "\ufffd")[:200]
                self._engine.progress.report(progress.token, min(1.0, max(0.0, progress.fraction)), message)

    async def _results(self, session: Session, batch: worker_pb2.ResultBatch) -> None:
        results = batch.results
        if batch.credits < 0:
            raise _refuse(
                "result_batch.credits", Reason.FIELD_OUT_OF_RANGE, f"is {batch.credits}; grant 0 or more with results"
            )
        waiting, allowed = session.unacked + session.unread + len(results), 2 * self._engine.settings.max_credits
        if waiting > allowed:
            raise ResourceExhausted(
                f"result_batch.results: {waiting} results wait for their ack, at most {allowed} are allowed; send each "
                "result once, and read the acks",
                reason=Reason.TOO_MANY_RESULTS,
                field="result_batch.results",
            )
        taken: list[TaskResult] = []
        refused: list[AckItem] = []
        session_id = session.id
        away: list[TaskResult] = []
        for number, result in enumerate(results):
            token = result.token
            if len(token) != TOKEN_BYTES or token[:16] != session_id:
                refuse_long_token(f"result_batch.results[{number}].token", token)
                refused.append(AckItem(token, Verdict.STALE, Reason.INVALID_TOKEN))
                continue
            try:
                taken.append(await self._result(session, token, result, may_ask=not away))
            except (Unavailable, TimeoutError):
                away.append(TaskResult(session, token, Outcome.COMPLETED))
        if refused:
            session.send_acks(refused)
        session.unacked += len(taken) + len(away)
        # Before a lane looks at the results: it leases for the slots that they freed in the same transaction.
        session.grant(batch.credits)
        self._engine.completions.add(taken)
        self._engine.completions.push_back(away)

    async def _result(self, session: Session, token: bytes, result: worker_pb2.Result, *, may_ask: bool) -> TaskResult:
        """Raises Unavailable or TimeoutError when only the database could tell, and it is away or was so just now."""
        match result.WhichOneof("outcome"):
            case "completed":
                return await self._completed(session, token, result.completed.output, may_ask=may_ask)
            case "failed":
                failed = result.failed
                retry_after = failed.retry_after_ms if failed.HasField("retry_after_ms") else None
                return TaskResult(
                    session,
                    token,
                    Outcome.FAILED,
                    code=_text(failed.code[:128]) or Reason.HANDLER_ERROR.encode(),
                    message=_text(failed.message[:8192]),
                    details=_text(failed.details[:8192]),
                    retryable=not failed.non_retryable,
                    retry_after_ms=None if retry_after is None else min(max(retry_after, 0), _MAX_RETRY_AFTER_MS),
                )
            case "released":
                return TaskResult(session, token, Outcome.RELEASED)
            case _:
                return _rejected(
                    session,
                    token,
                    Reason.FIELD_REQUIRED,
                    "the result has no outcome; send completed, failed or released",
                )

    async def _completed(self, session: Session, token: bytes, output: bytes, *, may_ask: bool) -> TaskResult:
        limit = self._engine.settings.max_output_bytes
        if len(output) > limit:
            return _rejected(
                session,
                token,
                Reason.OUTPUT_TOO_LARGE,
                f"the output has {len(output)} bytes, at most {limit} are allowed; return a reference to it instead",
            )
        try:
            orjson.loads(output)
            if b"\\u0000" not in output:
                return TaskResult(session, token, Outcome.COMPLETED, output)
        except orjson.JSONDecodeError:
            pass
        # Rare: what orjson refuses PostgreSQL may take (1e400, deep nesting), and U+0000 needs a closer look.
        if not may_ask:
            raise TimeoutError
        try:
            # Nothing else of the stream is read meanwhile, not even a heartbeat.
            async with asyncio.timeout(self._engine.settings.heartbeat_s):
                await self._payloads.check(output, "output", limit)
        except InvalidArgument as error:
            return _rejected(session, token, Reason.INVALID_OUTPUT, error.message)
        return TaskResult(session, token, Outcome.COMPLETED, output)

    # ------------------------------------------------------------------------------------------------ unary

    async def GetRunInput(
        self, request: worker_pb2.GetRunInputRequest, context: _Context
    ) -> worker_pb2.GetRunInputResponse:
        """The input of the run that a held lease belongs to."""
        if not request.token:
            raise InvalidArgument(
                Violation("token", Reason.FIELD_REQUIRED, "is empty; send the token of a task that is executing")
            )
        token = decode_token(request.token)
        found = None if token is None else await self._engine.tasks.run_input(*token)
        if found is None:
            raise NotFound(
                "token: no lease is held under it; use the token of a task that is executing",
                reason=Reason.INVALID_TOKEN,
                field="token",
            )
        return worker_pb2.GetRunInputResponse(input=found)


def _rejected(session: Session, token: bytes, reason: Reason, message: str) -> TaskResult:
    """What breaks a rule fails its task, and only it."""
    return TaskResult(
        session,
        token,
        Outcome.FAILED,
        code=reason.encode(),
        message=message.encode(),
        retryable=False,
        rejected=reason,
    )
