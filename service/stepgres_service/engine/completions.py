"""The group commit: results wait here and go into the database a batch at a time, with the next lease beside them.

A few lanes, each with a connection of its own, run one transaction at a time. While a lane commits, arrivals pile up
and become its next batch: batches form by themselves and there is no timer. A second lane starts only when at least a
quarter of what is outstanding waits, since a small batch costs nearly as much as a large one; none takes more than half
of it, so that the lanes keep each other company.

A result is acknowledged after its commit and kept until then. When the outcome of a commit is unknown the same batch is
sent again: the fence answers `duplicate` for what had been recorded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

import structlog

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.dispatch import Dispatcher, PlannedLease
from stepgres_service.engine.sessions import AckItem, Session
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import token_columns
from stepgres_service.errors import Reason, StepgresError
from stepgres_service.store.lane import BatchRefused, Lane, LaneBusy, LaneDown
from stepgres_service.store.tasks import EndedRun, Exchange, ResultColumns

_log = structlog.get_logger(__name__)

#: Seconds a lane rests after a fault of ours.
_FAULT_PAUSE_S = 1.0


class Outcome(IntEnum):
    """What became of a task; the numbers of record_results."""

    COMPLETED = 1
    FAILED = 2
    RELEASED = 3
    UNDELIVERED = 4


class Verdict(IntEnum):
    """What became of a result; the numbers of AckVerdict."""

    RECORDED = 1
    DUPLICATE = 2
    STALE = 3
    REJECTED = 4
    BUSY = 5


@dataclass(slots=True)
class TaskResult:
    """A result on its way into the database."""

    session: Session
    token: bytes
    outcome: Outcome
    #: JSON, when completed.
    output: bytes | None = None
    #: When failed; UTF-8.
    code: bytes | None = None
    message: bytes | None = None
    details: bytes | None = None
    retryable: bool = True
    retry_after_ms: int | None = None
    #: Why what the worker sent was turned into this failure; answered REJECTED.
    rejected: Reason | None = None
    #: False for results of the engine's own making, which nobody waits for.
    acknowledge: bool = True

    def size(self) -> int:
        """Bytes it holds in memory, roughly."""
        return 200 + len(self.output or b"") + len(self.message or b"") + len(self.details or b"")


@dataclass(slots=True)
class _Batch:
    results: list[TaskResult] = field(default_factory=list)
    leases: list[PlannedLease] = field(default_factory=list)


def _columns(results: Sequence[TaskResult]) -> ResultColumns:
    session_ids, run_ids, steps, tasks, seqs = token_columns(result.token for result in results)
    columns = ResultColumns(
        run_ids, steps, tasks, seqs, session_ids, [r.outcome for r in results], [r.output for r in results]
    )
    if any(result.outcome is Outcome.FAILED for result in results):
        columns.codes = [r.code for r in results]
        columns.messages = [r.message for r in results]
        columns.details = [r.details for r in results]
        columns.retryable = [r.retryable for r in results]
        columns.retry_after_ms = [r.retry_after_ms for r in results]
    return columns


class Completions:
    """Collects results and runs the lanes.

    Args:
        lanes: connections, one for each transaction under way.
        definitions: loaded before a task is handed out, for its timeout and its frame.
        settings: numbers of the engine.
        on_changed: called after each commit with the 16-byte ids of the runs it changed.
        on_ended: called after each commit with the runs that ended.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        definitions: DefinitionCache,
        settings: EngineSettings,
        on_changed: Callable[[set[bytes]], None],
        on_ended: Callable[[Sequence[EndedRun]], None],
    ) -> None:
        self._lanes = lanes
        self._definitions = definitions
        self._settings = settings
        self._on_changed = on_changed
        self._on_ended = on_ended
        self.dispatcher: Dispatcher
        self._pending: deque[TaskResult] = deque()
        self._held_bytes = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._flushed = asyncio.Event()
        self._down = 0

    # ------------------------------------------------------------------------------------------------ life

    def start(self, dispatcher: Dispatcher) -> None:
        """Starts the lanes."""
        self.dispatcher = dispatcher
        self._tasks = [
            asyncio.create_task(self._run(lane), name=f"lane {number}") for number, lane in enumerate(self._lanes)
        ]

    async def stop(self, flush_s: float) -> None:
        """Records what waits, for at most flush_s seconds, and stops the lanes."""
        self._stopping = True
        while self._idle:
            self._idle.popleft().set_result(None)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=flush_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    @property
    def healthy(self) -> bool:
        """False while a lane cannot reach the database."""
        return self._down == 0

    # ------------------------------------------------------------------------------------------------ arrivals

    def add(self, results: Sequence[TaskResult]) -> None:
        """Takes results; while the database is away and the bound is reached, they are answered BUSY instead."""
        if self._down and self._held_bytes > self._settings.max_held_bytes:
            for result in results:
                if result.acknowledge:
                    result.session.unacked -= 1
                    result.session.send_acks([AckItem(result.token, Verdict.BUSY, Reason.OVERLOADED, "", 1000)])
            return
        self._pending.extend(results)
        self._held_bytes += sum(map(TaskResult.size, results))
        self.kick()

    def kick(self) -> None:
        """Lets an idle lane start when there is enough for it to do."""
        if self._idle and self._worth_a_lane():
            self._idle.popleft().set_result(None)

    def _worth_a_lane(self) -> bool:
        if len(self._idle) == len(self._lanes):
            return bool(self._pending) or self.dispatcher.leasable() > 0
        enough = max(1, self.dispatcher.outstanding() // 4)
        return len(self._pending) >= enough or self.dispatcher.leasable() >= enough

    # ------------------------------------------------------------------------------------------------ lanes

    async def _run(self, lane: Lane) -> None:
        while True:
            batch = self._take()
            if batch is None:
                if self._stopping:
                    return
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(turn)
                await turn
                continue
            try:
                await self._transact(lane, batch)
            except Exception:  # noqa: BLE001 a fault of ours must not stop the lane for everybody
                _log.exception("a batch could not be handled; its workers will ask again")
                await asyncio.sleep(_FAULT_PAUSE_S)

    def _take(self) -> _Batch | None:
        """The next batch; None when there is nothing that is worth a transaction now."""
        limit = min(self._settings.max_batch, max(1, (self.dispatcher.outstanding() + 1) // 2))
        pending = self._pending
        busy = len(self._lanes) - len(self._idle) - 1
        if busy and not self._stopping and not self._worth_a_lane():
            return None
        batch = _Batch()
        while pending and len(batch.results) < limit:
            batch.results.append(pending.popleft())
        if not self._stopping:
            batch.leases = self.dispatcher.plan(limit)
        return batch if batch.results or batch.leases else None

    async def _transact(self, lane: Lane, batch: _Batch) -> None:
        try:
            columns = _columns(batch.results) if batch.results else None
            exchange = await lane.exchange(columns, [lease.request for lease in batch.leases])
        except LaneDown as down:
            self._give_back(batch)
            self._down += 1
            try:
                await lane.recover(down)
            finally:
                self._down -= 1
        except LaneBusy:
            self._give_back(batch)
            await asyncio.sleep(0.01)
        except BatchRefused as refusal:
            self._settle_leases(batch, None)
            await self._bisect(lane, batch.results, refusal)
        except BaseException:
            self._give_back(batch)  # cancelled, or a fault of ours: nothing was settled
            raise
        else:
            self._settle_results(batch.results, exchange)
            await self._load_definitions(exchange)
            self._settle_leases(batch, exchange)

    async def _load_definitions(self, exchange: Exchange) -> None:
        """Loads what the leased tasks refer to.

        Without it they are not handed out: the comparison frees them, or they are cancelled with their deleted flow.
        """
        for leased in exchange.leased:
            for version_id, step_index in {(t.version_id, t.step_index) for t in leased}:
                if self._definitions.get(version_id, step_index) is not None:
                    continue
                with suppress(StepgresError):
                    await self._definitions.load(version_id, step_index)
                if self._definitions.get(version_id, step_index) is None:
                    leased[:] = [task for task in leased if task.version_id != version_id]

    def _give_back(self, batch: _Batch) -> None:
        self._settle_leases(batch, None)
        self._pending.extendleft(reversed(batch.results))

    def _settle_leases(self, batch: _Batch, exchange: Exchange | None) -> None:
        for position, lease in enumerate(batch.leases):
            self.dispatcher.settle(lease, None if exchange is None else exchange.leased[position])

    async def _bisect(self, lane: Lane, results: list[TaskResult], refusal: BatchRefused) -> None:
        """Finds the item that PostgreSQL refuses and fails it alone; its neighbours are recorded."""
        if len(results) > 1:
            middle = len(results) // 2
            for half in (results[:middle], results[middle:]):
                await self._transact(lane, _Batch(half))
            return
        for result in results:
            if result.rejected is not None or result.outcome is not Outcome.COMPLETED:
                # Even the failure was refused: only its texts can be at fault, so they go.
                result.message = b"the result's text was refused by the database"
                result.details = None
                result.code = Reason.INVALID_OUTPUT.encode()
            else:
                result.code = Reason.INVALID_OUTPUT.encode()
                result.message = f"the output was refused by the database: {refusal}".encode()[:8000]
            result.outcome, result.output, result.retryable = Outcome.FAILED, None, False
            if result.rejected is Reason.INTERNAL:
                self._settle_results([result], Exchange(verdicts=[Verdict.STALE]))
                return
            result.rejected = Reason.INVALID_OUTPUT if result.rejected is None else Reason.INTERNAL
        await self._transact(lane, _Batch(results))

    def _settle_results(self, results: list[TaskResult], exchange: Exchange) -> None:
        changed: set[bytes] = set()
        acks: dict[Session, list[AckItem]] = {}
        for result, verdict in zip(results, exchange.verdicts, strict=True):
            self._held_bytes -= result.size()
            session, token = result.session, result.token
            session.leases.pop(token, None)
            if verdict == Verdict.RECORDED:
                changed.add(token[16:32])
            if result.acknowledge:
                session.unacked -= 1
                ack = AckItem(token, verdict)
                if verdict == Verdict.REJECTED:
                    ack.reason = Reason.OUTPUT_TOO_LARGE
                elif result.rejected is not None and verdict == Verdict.RECORDED:
                    ack.verdict, ack.reason = Verdict.REJECTED, result.rejected
                    ack.message = (result.message or b"").decode(errors="replace")
                elif verdict == Verdict.STALE:
                    ack.reason = Reason.INVALID_TOKEN
                if session in acks:
                    acks[session].append(ack)
                else:
                    acks[session] = [ack]
        for session, items in acks.items():
            session.send_acks(items)
        if exchange.ready_routes:
            self.dispatcher.wake(exchange.ready_routes)
        if changed:
            self._on_changed(changed)
        if exchange.ended:
            self._on_ended(exchange.ended)
