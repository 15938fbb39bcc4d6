"""The coordinator's end of a fake Work stream, and a task as the fake coordinator sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _json
from ._errors import StepgresError

if TYPE_CHECKING:
    from collections.abc import Callable


class TaskFailed(StepgresError):
    """The handler failed.

    Args:
        failure: what the worker sent.
    """

    def __init__(self, failure: worker_pb2.Failed) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.code = failure.code
        self.message = failure.message
        self.details = failure.details
        self.retryable = not failure.non_retryable
        self.retry_after_s = failure.retry_after_ms / 1000 if failure.HasField("retry_after_ms") else None


class TaskReleased(StepgresError):
    """The worker handed the task back unexecuted."""


class FakeTask:
    """A task in the fake coordinator; make it with `fake.send_task(…)`."""

    def __init__(self, message: worker_pb2.LeasedTask, run_input: bytes) -> None:
        self.message = message
        self.run_input = run_input
        #: How often it was handed out.
        self.lease_seq = 0
        #: It is in the worker's hands.
        self.leased = False
        #: Results that came for it, also late and doubled ones.
        self.results: list[worker_pb2.Result] = []
        self._recorded: asyncio.Future[worker_pb2.Result] = asyncio.get_running_loop().create_future()

    @property
    def token(self) -> bytes:
        """Token of its present lease."""
        return self.message.token

    @property
    def done(self) -> bool:
        """Its result is recorded."""
        return self._recorded.done()

    def lease(self) -> worker_pb2.LeasedTask:
        """Hands it out under a new token."""
        self.lease_seq += 1
        self.leased = True
        self.message.token = f"{self.message.run_id}:{self.message.step}:{self.lease_seq}:{id(self)}".encode()
        return self.message

    def record(self, result: worker_pb2.Result) -> None:
        """Takes its result."""
        self.leased = False
        self._recorded.set_result(result)

    def give_up(self, error: BaseException) -> None:
        """Ends the waiting of `result` with an error."""
        self.leased = False
        if not self._recorded.done():
            self._recorded.set_exception(error)
            self._recorded.exception()  # nobody has to ask

    async def outcome(self) -> worker_pb2.Result:
        """Waits for the recorded result as it was sent."""
        return await asyncio.shield(self._recorded)

    async def result(self) -> Any:
        """Waits for the recorded result and decodes the output.

        Raises:
            TaskFailed: the handler failed.
            TaskReleased: the worker handed it back.
        """
        result = await self.outcome()
        if result.HasField("failed"):
            raise TaskFailed(result.failed)
        if result.HasField("released"):
            raise TaskReleased
        return _json.loads(result.completed.output)


class FakeStream:
    """A Work stream in memory: the worker holds one end, the fake coordinator the other."""

    def __init__(
        self,
        received: Callable[[FakeStream, worker_pb2.WorkRequest], None],
        closed: Callable[[FakeStream], None],
    ) -> None:
        self._received = received
        self._closed = closed
        self._frames: asyncio.Queue[worker_pb2.WorkResponse | StepgresError | None] = asyncio.Queue()
        #: Credits granted and not used.
        self.credits = 0
        #: It was welcomed and has not ended.
        self.open = False
        self.ended = False

    # The worker's end -----------------------------------------------------------------------------------------

    async def read(self) -> worker_pb2.WorkResponse | None:
        """The next frame."""
        frame = await self._frames.get()
        if isinstance(frame, StepgresError):
            raise frame
        return frame

    async def write(self, frame: worker_pb2.WorkRequest) -> None:
        """Sends a frame."""
        if self.ended:
            raise StepgresError("the stream has ended")
        # Through the wire format, as a real one: what cannot be encoded fails here.
        self._received(self, worker_pb2.WorkRequest.FromString(frame.SerializeToString()))

    async def done_writing(self) -> None:
        """Half-closes; the fake coordinator closes its half in turn."""
        self.end(None)

    def cancel(self) -> None:
        """Ends it at once."""
        self.end(StepgresError("the stream was cancelled"))

    async def close(self) -> None:
        """Ends it."""
        self.cancel()

    # The coordinator's end ------------------------------------------------------------------------------------

    def send(self, **frame: Any) -> None:
        """Sends a frame to the worker; no-op on a stream that has ended."""
        if not self.ended:
            message = worker_pb2.WorkResponse(**frame)
            self._frames.put_nowait(worker_pb2.WorkResponse.FromString(message.SerializeToString()))

    def end(self, error: StepgresError | None) -> None:
        """Ends it for the worker, with a status or with OK."""
        if not self.ended:
            self.ended, self.open = True, False
            self._frames.put_nowait(error)
            self._closed(self)
