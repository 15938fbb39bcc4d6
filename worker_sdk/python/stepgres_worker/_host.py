"""What a worker offers to the contexts of its handlers."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _rpc
from ._client import AsyncClient
from ._errors import NotFound
from ._sync import Client, Portal

if TYPE_CHECKING:
    from ._clock import Clock
    from ._executor import Execution
    from ._session import Session
    from ._transport import Transport

#: How many runs' inputs a worker keeps, and how many bytes of them.
_INPUTS, _INPUT_BYTES = 1_000, 64 * 1024 * 1024


class WorkerHost:
    """Progress, run inputs and clients for handlers, on the worker's own connection."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self.clock = clock
        self.context = contextvars.copy_context()
        self.max_output_bytes = sys.maxsize
        self.session: Session
        self._loop = asyncio.get_running_loop()
        self._client = AsyncClient(transport=transport)
        self._blocking_client = Client(transport=transport, portal=Portal(self._loop))
        #: Asked for, or known, by run; the newest last.
        self._inputs: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()
        self._input_bytes = 0

    def progress(self, token: bytes, fraction: float, message: str) -> None:
        """Notes how far a task is; from any thread."""
        self.session.progress(token, fraction, message)

    def wait(self, coroutine: Any) -> Any:
        """Runs a coroutine on the worker's loop and waits for it in another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def client(self, *, blocking: bool) -> Any:
        """A client on the worker's connection."""
        return self._blocking_client if blocking else self._client

    async def run_input(self, execution: Execution) -> bytes:
        """The run's input: one GetRunInput for a run, whoever of its tasks asks first."""
        run_id = execution.task.run_id
        while True:
            asked = self._inputs.get(run_id)
            mine = asked is None
            if asked is None:
                asked = self._inputs[run_id] = asyncio.create_task(self._ask(run_id, execution.token))
            else:
                self._inputs.move_to_end(run_id)
            try:
                # Shielded: a cancelled handler must not take the answer from the others.
                return await asyncio.shield(asked)
            except NotFound:
                if mine:
                    raise
                # The one who asked has lost its lease meanwhile; ours is another one.

    async def _ask(self, run_id: str, token: bytes) -> bytes:
        try:
            request = worker_pb2.GetRunInputRequest(token=token)
            response = await self._client.call(_rpc.GET_RUN_INPUT, request)
        except BaseException:
            if self._inputs.get(run_id) is asyncio.current_task():
                del self._inputs[run_id]
            raise
        if self._inputs.get(run_id) is not asyncio.current_task():
            return response.input  # pushed out while it was on its way: nobody would ever subtract its bytes
        self._input_bytes += len(response.input)
        while len(self._inputs) > 1 and (len(self._inputs) > _INPUTS or self._input_bytes > _INPUT_BYTES):
            _, oldest = self._inputs.popitem(last=False)
            if oldest.done() and not oldest.cancelled() and oldest.exception() is None:
                self._input_bytes -= len(oldest.result())
        return response.input

    async def close(self) -> None:
        """Forgets the inputs."""
        asked, self._inputs = list(self._inputs.values()), OrderedDict()
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
