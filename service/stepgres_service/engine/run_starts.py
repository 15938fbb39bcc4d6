"""The group commit of starts: runs that many callers start become one transaction.

While one start transaction is under way, the next starts wait; all of them together are the next batch. There is no
timer: a lone start on an idle system goes into the database at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from uuid import UUID

import structlog

from stepgres_service.engine.loop import answered_within
from stepgres_service.engine.plans import KnownPlans
from stepgres_service.engine.run_log import log_end
from stepgres_service.engine.run_refusals import start_refusal
from stepgres_service.errors import InvalidArgument, Reason, ResourceExhausted, StepgresError, Unavailable, Violation
from stepgres_service.model import Run, RunStatus
from stepgres_service.store.lane import BatchRefused, LaneBlocked, LaneBusy
from stepgres_service.store.runs import RunStart, RunStore, StartedBatch

_log = structlog.get_logger(__name__)

_MAX_BATCH = 1000  # runs in a transaction
_MAX_BATCH_BYTES = 8 << 20  # bytes of input in a transaction; one larger run travels alone
_MAX_WAITING_BYTES = 256 << 20  # bytes of input that may wait
_CONFLICT_RETRIES = 3
_PLAN_RETRIES = 3  # times that a plan which was removed meanwhile is stored again
_GIVE_UP_S = 5.0  # seconds of trying while the database is away
_ANSWER_S = 60.0  # seconds for an answer; beyond, its connection is lost though nobody says so


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started, or found by its idempotency key."""

    run_id: UUID
    #: False: the idempotency key had started it before.
    created: bool
    #: The run without steps and payloads, when it was asked for.
    run: Run | None


class _Call:
    """A caller that waits for its items."""

    __slots__ = ("_open", "done", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Started | StepgresError | None] = [None] * count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = count

    def settle(self, position: int, outcome: Started | StepgresError) -> None:
        self.outcomes[position] = outcome
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class _Item:
    start: RunStart
    #: The caller wants to see the run.
    read: bool
    call: _Call
    position: int
    #: Times that its plan was found to be gone.
    plan_losses: int = 0

    def settle(self, outcome: Started | StepgresError) -> None:
        self.call.settle(self.position, outcome)


class RunStarts:
    """Starts runs, many callers at a time.

    Args:
        store: calls start_runs.
        wake: called after each commit with the routes that have new messages.
        look_around: called when the answer of a commit was lost, and those routes with it.
    """

    def __init__(self, store: RunStore, wake: Callable[[Sequence[int]], None], look_around: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._look_around = look_around
        self._waiting: deque[_Item] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._known_plans = KnownPlans()

    async def start(self, starts: Sequence[RunStart], *, read: bool) -> list[Started | StepgresError]:
        """Starts runs, each accepted or refused on its own.

        Args:
            starts: at least one.
            read: True to get the runs as well, not only their ids.

        Returns:
            For each the run, or why it was refused: NotFound, AlreadyExists, InvalidArgument, Unavailable.

        Raises:
            ResourceExhausted: more starts wait than this coordinator may hold.
        """
        size = sum(start.size for start in starts)
        if self._waiting and self._waiting_bytes + size > _MAX_WAITING_BYTES:
            raise ResourceExhausted(
                f"{self._waiting_bytes} bytes of inputs wait to be stored, at most {_MAX_WAITING_BYTES} may; try again later",
                reason=Reason.OVERLOADED,
                retry_after_s=1.0,
            )
        call = _Call(len(starts))
        self._waiting.extend(_Item(start, read, call, position) for position, start in enumerate(starts))
        self._waiting_bytes += size
        if self._task is None or self._task.done():
            # A context of its own: the runs of all callers are logged there, not only those of the first.
            self._task = asyncio.create_task(self._flush(), name="run starts", context=Context())
        await call.done
        return [outcome for outcome in call.outcomes if outcome is not None]

    async def stop(self, flush_s: float) -> None:
        """Waits until everything that was asked for is started, at most flush_s seconds."""
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=flush_s)
            for task in late:
                task.cancel()
            # A statement that is given up on a dead connection ends much later; nobody needs to see that.
            await asyncio.wait({self._task}, timeout=1.0)

    # ------------------------------------------------------------------------------------------------ batches

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._take()
            if not batch:
                continue
            try:
                await self._transact(batch)
            except StepgresError as error:
                self._refuse(batch, error)
            except asyncio.CancelledError:
                self._refuse([*batch, *self._waiting], _stopped())
                raise
            except Exception as error:  # noqa: BLE001  the callers hear of our fault, and the starts behind them go on
                _log.exception("starting runs failed", runs=len(batch))
                self._refuse(batch, StepgresError(f"starting runs failed: {type(error).__name__}"))

    def _take(self) -> list[_Item]:
        """The next batch, without the items of callers that went away."""
        batch: list[_Item] = []
        size = 0
        while self._waiting and len(batch) < _MAX_BATCH:
            weight = self._waiting[0].start.size
            if batch and size + weight > _MAX_BATCH_BYTES:
                break
            item = self._waiting.popleft()
            self._waiting_bytes -= weight
            if not item.call.done.cancelled():
                batch.append(item)
                size += weight
        # In the order of their keys: two coordinators that start the same keys wait for each other, but never in a circle.
        # All plans share their keys.
        batch.sort(
            key=lambda item: (
                item.start.flow if item.start.plan is None else "plan:",
                item.start.idempotency_key or "",
            )
        )
        return batch

    async def _transact(self, batch: list[_Item]) -> None:
        try:
            started = await self._send(batch)
        except (BatchRefused, LaneBusy) as refusal:
            # Flows are locked as a whole, for as long as one is deleted: their starts need not be tried one by one.
            middle = _middle(batch, by_flow=isinstance(refusal, LaneBlocked))
            if middle:
                await self._transact(batch[:middle])
                await self._transact(batch[middle:])
            elif isinstance(refusal, BatchRefused):
                message = f"was refused by the database ({refusal.message}); send a value that PostgreSQL can store"
                batch[0].settle(InvalidArgument(Violation("input", Reason.INVALID_JSON, message)))
            else:
                message = f"another transaction is in the way ({refusal.message}); try again"
                self._refuse(batch, Unavailable(message, reason=Reason.DATABASE_UNAVAILABLE, retry_after_s=1.0))
        except Unavailable as error:
            # Whoever waits behind would only wait as long again.
            behind = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._refuse(batch + behind, error)
        else:
            gone = self._settle(batch, started)
            if gone:
                # Their plans were removed, since no run was left, after they were last seen here.
                self._known_plans.forget(item.start.flow for item in gone)
                await self._transact(gone)

    async def _send(self, batch: list[_Item]) -> StartedBatch:
        """Sends a batch until its outcome is known; the same again is harmless, since its run ids are the same."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + _GIVE_UP_S
        starts, read = [item.start for item in batch], [item.read for item in batch]
        conflicts = failures = 0
        while True:
            try:
                async with answered_within(_ANSWER_S):
                    await self._define_plans(starts)
                    started = await self._store.start_runs(starts, read)
                if failures:
                    self._look_around()
                return started
            except LaneBusy as busy:
                conflicts += 1
                if conflicts > _CONFLICT_RETRIES or isinstance(busy, LaneBlocked):
                    raise
                await asyncio.sleep(random.uniform(0, 0.02 * conflicts))
            except Unavailable as error:
                failures += 1
                delay_s = random.uniform(0, min(1.0, 0.05 * 2**failures))
                if clock() + delay_s > give_up_at:
                    raise Unavailable(
                        f"{error.message}; the run may have been started: use an idempotency_key to try again safely",
                        reason=Reason.DATABASE_UNAVAILABLE,
                        retry_after_s=1.0,
                    ) from error
                await asyncio.sleep(delay_s)

    async def _define_plans(self, starts: Sequence[RunStart]) -> None:
        """Stores the plans of a batch that this coordinator has not seen, in a transaction before that of the starts."""
        plans = {start.flow: start.plan for start in starts if start.plan is not None}
        new = {slug: plan for slug, plan in plans.items() if slug not in self._known_plans}
        if new:
            await self._store.define_plans(new)
        self._known_plans.add(plans)

    def _settle(self, batch: list[_Item], started: StartedBatch) -> list[_Item]:
        """Tells the callers what became of their items; returns those whose plan is gone, for another try."""
        gone: list[_Item] = []
        for item, verdict in zip(batch, started.verdicts, strict=True):
            if verdict.verdict in ("created", "existing") and verdict.run_id is not None:
                # Sent twice after a broken commit, our own run answers `existing`.
                created = verdict.run_id == item.start.run_id
                item.settle(Started(verdict.run_id, created, started.runs.get(verdict.run_id)))
                if created and verdict.status not in (None, RunStatus.STARTED):
                    # Nothing to do: no steps, or only maps over nothing.
                    log_end(str(verdict.run_id), item.start.flow, str(verdict.status), 0.0)
            elif verdict.verdict == "unknown_flow" and item.start.plan is not None and item.plan_losses < _PLAN_RETRIES:
                item.plan_losses += 1
                gone.append(item)
            else:
                item.settle(start_refusal(item.start, verdict))
        if started.ready_routes:
            self._wake(started.ready_routes)
        return gone

    @staticmethod
    def _refuse(items: Sequence[_Item], error: StepgresError) -> None:
        for item in items:
            if item.call.outcomes[item.position] is None:
                item.settle(error)


def _stopped() -> Unavailable:
    return Unavailable(
        "this coordinator is shutting down; the run may have been started: use an idempotency_key to try again safely",
        reason=Reason.DRAINING,
        retry_after_s=0.1,
    )


def _middle(batch: Sequence[_Item], *, by_flow: bool) -> int:
    """Where a batch, which is sorted by flow, is cut in two; 0: not at all."""
    if not by_flow:
        return len(batch) // 2
    cuts = [n for n in range(1, len(batch)) if batch[n].start.flow != batch[n - 1].start.flow]
    return cuts[len(cuts) // 2] if cuts else 0
