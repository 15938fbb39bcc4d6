"""Handles of runs, and the watch that never misses the last state."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stepgres.v1 import common_pb2, run_pb2

from . import _convert
from ._clock import full_jitter_s
from ._errors import RunCancelled, RunFailed, Unavailable
from ._models import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._client import AsyncClient
    from ._models import RunSnapshot

#: Longest wait before a broken watch is opened again.
_WATCH_CAP_S = 5.0


class AsyncRun:
    """A run, by its id. Make it with `client.start_run(…)` or `client.run(run_id)`."""

    __slots__ = ("_client", "created", "flow", "id")

    def __init__(self, client: AsyncClient, run_id: str, *, created: bool, flow: str = "") -> None:
        self._client = client
        #: UUID of the run.
        self.id = run_id
        #: True when this call has started it.
        self.created = created
        #: Slug of its flow, of an inline plan `plan:<hash>`; empty when `client.run` made the handle.
        self.flow = flow

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def get(self, *, full: bool = True) -> RunSnapshot:
        """Reads the run as it stands; `full` with payloads. Raises NotFound."""
        return await self._client.get_run(self.id, full=full)

    async def cancel(self, *, reason: str = "") -> bool:
        """Ends the run; False when it had ended before. Raises NotFound."""
        return await self._client.cancel_run(self.id, reason=reason)

    async def retry(self) -> bool:
        """Lets the run go on that failed or was cancelled; False when it was started already.

        Raises:
            NotFound: there is no such run.
            FailedPrecondition: it has completed.
        """
        return await self._client.retry_run(self.id)

    async def watch(self, cursor: str | None = None, *, full: bool = False) -> AsyncGenerator[RunSnapshot, None]:
        """Follows the run until it has ended; goes on by itself where the connection broke.

        Args:
            cursor: `snap.cursor` of an earlier watch: only what changed since is told; None = begin with a snapshot.
            full: with input and output in the last snapshot.

        Yields:
            The run with all its steps, at most ten times a second; the last one is terminal.

        Raises:
            NotFound: there is no such run.
            InvalidArgument: the cursor belongs to another run.
        """
        snapshot: RunSnapshot | None = None
        attempt = 0
        while True:
            try:
                if cursor and snapshot is None:  # changes need something to be merged into
                    snapshot = await self._client.get_run(self.id, full=False)
                async with aclosing(self._client.open_watch(self._request(cursor, full))) as frames:
                    async for frame in frames:
                        attempt = 0
                        snapshot, cursor = _merge(snapshot, frame), frame.cursor
                        if snapshot is not None:
                            yield snapshot
                        if frame.HasField("end"):
                            return
            except Unavailable:
                if attempt > 5:  # some ten seconds: the caller wants to know
                    raise
            # Also when the coordinator closed the stream without an end, as one that shuts down may.
            await asyncio.sleep(full_jitter_s(attempt, random.random, cap_s=_WATCH_CAP_S))
            attempt += 1

    async def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and returns the output `{leaf slug: output}`.

        Args:
            timeout: seconds to wait; None = for ever.

        Raises:
            RunFailed: with the step, code and message of the failure.
            RunCancelled: somebody cancelled the run.
            TimeoutError: it has not ended yet; it goes on.
            NotFound: there is no such run.
        """
        try:
            async with asyncio.timeout(timeout) as limit:
                last = await self._last()
        except TimeoutError as error:
            if not limit.expired():  # the deadline of a call, not ours
                raise
            raise TimeoutError(f"run {self.id} has not ended within {timeout} s; it goes on") from error
        return output_of(last)

    async def _last(self) -> RunSnapshot:
        last: RunSnapshot | None = None
        async with aclosing(self.watch(full=True)) as snapshots:
            async for snapshot in snapshots:
                last = snapshot
        assert last is not None, "a watch ends with a snapshot"
        return last

    def _request(self, cursor: str | None, full: bool) -> run_pb2.WatchRunRequest:
        view = common_pb2.VIEW_FULL if full else common_pb2.VIEW_BASIC
        return run_pb2.WatchRunRequest(run_id=self.id, cursor=cursor or "", view=view)


def _merge(base: RunSnapshot | None, frame: run_pb2.WatchRunResponse) -> RunSnapshot | None:
    kind = frame.WhichOneof("frame")
    if kind == "snapshot":
        return _convert.run_snapshot(frame.snapshot, cursor=frame.cursor)
    if kind == "end":
        return _convert.run_snapshot(frame.end, cursor=frame.cursor)
    if kind == "change" and base is not None:
        return _convert.changed(base, frame.change, frame.cursor)
    return base


def output_of(last: RunSnapshot) -> Any:
    """The output of a run that has ended.

    Raises:
        RunFailed: it failed.
        RunCancelled: it was cancelled.
    """
    if last.status is RunStatus.COMPLETED:
        return last.output
    error = last.error
    if last.status is RunStatus.CANCELLED:
        raise RunCancelled(last.run_id, error.message if error else "")
    if error is None:
        raise RunFailed(last.run_id, "", "UNKNOWN", f"the run is {last.status}")
    raise RunFailed(last.run_id, error.step, error.code, error.message)
