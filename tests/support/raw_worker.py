"""A worker made of bare frames: what the protocol says, without the SDK, so that a test can also break its rules."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from stepgres.v1 import worker_pb2, worker_pb2_grpc

WAIT_S = 10.0


class RawWorker:
    """One stream. Frames that came are kept by kind until a test takes them.

    Args:
        channel: to a coordinator.
        instance_id: the worker's secret; the same one resumes a session.
    """

    def __init__(self, channel: grpc.aio.Channel, instance_id: bytes | None = None) -> None:
        self.instance_id = instance_id or os.urandom(16)
        self._stub = worker_pb2_grpc.WorkerServiceStub(channel)
        self._outgoing: asyncio.Queue[worker_pb2.WorkRequest | None] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self.call: Any = None
        self.welcome: worker_pb2.Welcome | None = None
        self.tasks: list[worker_pb2.LeasedTask] = []
        self.acks: list[worker_pb2.Ack] = []
        self.cancelled: list[bytes] = []
        self.lost: list[bytes] = []
        self.drain: worker_pb2.Drain | None = None
        self.pings = 0
        self.closed = False
        self.error: grpc.aio.AioRpcError | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(
        self,
        handlers: Sequence[str],
        *,
        scope: str = "",
        session_id: bytes = b"",
        held: Sequence[bytes] = (),
        **hello: Any,
    ) -> worker_pb2.Welcome:
        """Connects and says Hello; returns the Welcome."""
        self.connect()
        subscription = worker_pb2.Subscription(scope=scope, handlers=[worker_pb2.Handler(name=h) for h in handlers])
        fields: dict[str, Any] = {
            "worker": "raw",
            "instance_id": self.instance_id,
            "min_protocol_version": 1,
            "max_protocol_version": 1,
            "subscriptions": [subscription],
            "session_id": session_id,
            "held_tokens": held,
            **hello,
        }
        self.send(hello=worker_pb2.Hello(**fields))
        await self.until(lambda: self.welcome is not None)
        assert self.welcome is not None
        return self.welcome

    def connect(self) -> None:
        """Opens the stream without a word."""
        self.call = self._stub.Work(self._requests())
        self._reader = asyncio.create_task(self._read())

    def send(self, **frame: Any) -> None:
        """Sends a frame: send(credit_grant=…)."""
        self._outgoing.put_nowait(worker_pb2.WorkRequest(**frame))

    def grant(self, credits: int) -> None:
        """Asks for tasks."""
        self.send(credit_grant=worker_pb2.CreditGrant(credits=credits))

    def complete(self, *tasks: worker_pb2.LeasedTask, output: bytes = b"1", credits: int = 0) -> None:
        """Sends results, and asks for more tasks in the same frame."""
        results = [worker_pb2.Result(token=task.token, completed=worker_pb2.Completed(output=output)) for task in tasks]
        self.send(result_batch=worker_pb2.ResultBatch(results=results, credits=credits))

    def fail(self, *tasks: worker_pb2.LeasedTask, **failed: Any) -> None:
        """Sends failures."""
        results = [worker_pb2.Result(token=task.token, failed=worker_pb2.Failed(**failed)) for task in tasks]
        self.send(result_batch=worker_pb2.ResultBatch(results=results))

    def release(self, *tasks: worker_pb2.LeasedTask) -> None:
        """Hands tasks back."""
        results = [worker_pb2.Result(token=task.token, released=worker_pb2.Released()) for task in tasks]
        self.send(result_batch=worker_pb2.ResultBatch(results=results))

    async def goodbye(self) -> None:
        """Leaves; returns when the coordinator has closed the stream."""
        self.send(goodbye=worker_pb2.Goodbye(reason="test"))
        self._outgoing.put_nowait(None)
        await self.until(lambda: self.closed)

    def cut(self) -> None:
        """Breaks the stream without a Goodbye."""
        self.call.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until frames have made the condition true; fails after 10 s or when the stream has ended."""
        try:
            async with asyncio.timeout(WAIT_S), self._changed:
                await self._changed.wait_for(lambda: condition() or self.closed)
        except TimeoutError:
            raise AssertionError(
                f"it did not come; what came: {len(self.tasks)} tasks, {len(self.acks)} acks, {self.cancelled=}, {self.lost=}, {self.drain=}"
            ) from None
        if not condition():
            raise AssertionError(f"the stream ended: {self.error}")

    async def take_tasks(self, count: int) -> list[worker_pb2.LeasedTask]:
        """Waits for so many tasks and takes them."""
        await self.until(lambda: len(self.tasks) >= count)
        taken, self.tasks = self.tasks[:count], self.tasks[count:]
        return taken

    async def take_acks(self, count: int) -> list[worker_pb2.Ack]:
        """Waits for so many acks and takes them."""
        await self.until(lambda: len(self.acks) >= count)
        taken, self.acks = self.acks[:count], self.acks[count:]
        return taken

    async def ended(self) -> grpc.aio.AioRpcError | None:
        """Waits for the end of the stream; returns its error."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: self.closed)
        return self.error

    async def close(self) -> None:
        """Ends what is left."""
        if self.call is not None:
            self.call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _requests(self) -> AsyncIterator[worker_pb2.WorkRequest]:
        while (frame := await self._outgoing.get()) is not None:
            yield frame

    async def _read(self) -> None:
        try:
            async for frame in self.call:
                await self._take(frame)
        except grpc.aio.AioRpcError as error:
            self.error = error
        except asyncio.CancelledError:
            pass
        finally:
            self.closed = True
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, frame: worker_pb2.WorkResponse) -> None:
        async with self._changed:
            match frame.WhichOneof("frame"):
                case "welcome":
                    self.welcome = frame.welcome
                case "task_batch":
                    self.tasks.extend(frame.task_batch.tasks)
                case "ack_batch":
                    self.acks.extend(frame.ack_batch.acks)
                case "cancel_tasks":
                    self.cancelled.extend(frame.cancel_tasks.tokens)
                case "lease_lost":
                    self.lost.extend(frame.lease_lost.tokens)
                case "drain":
                    self.drain = frame.drain
                case "ping":
                    self.pings += 1
            self._changed.notify_all()


@asynccontextmanager
async def raw_worker(
    channel: grpc.aio.Channel, handlers: Sequence[str], *, credits: int = 0, **hello: Any
) -> AsyncIterator[RawWorker]:
    """A welcomed worker, ended at the end."""
    worker = RawWorker(channel)
    try:
        await worker.open(handlers, **hello)
        if credits:
            worker.grant(credits)
        yield worker
    finally:
        await worker.close()
