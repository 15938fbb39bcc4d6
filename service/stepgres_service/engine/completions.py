"""The group commit: results wait here and go into the database a batch at a time, with the next lease beside them.

A few lanes, each with a connection of its own, run one transaction at a time. While a lane commits, arrivals pile up
and become its next batch: batches form by themselves and there is no timer. A second lane starts only when at least a
quarter of what is outstanding waits, since a small batch costs nearly as much as a large one; none takes more than half
of it, so that the lanes keep each other company.

A result is acknowledged after its commit and kept until then. When the outcome of a commit is unknown the same batch is
sent again: the fence answers `duplicate` for what had been recorded.

A batch that is not taken is sent again without leases. What PostgreSQL refuses ends up alone, by halves, and fails its
task. Results of runs that somebody else has locked wait aside, so that nobody waits for them; they are looked at each
second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import structlog

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.dispatch import Dispatcher, PlannedLease
from stepgres_service.engine.results import Outcome, TaskResult, Verdict, columns_of
from stepgres_service.engine.sessions import AckItem, Session
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import decode_token, run_of
from stepgres_service.errors import Reason, StepgresError
from stepgres_service.store.lane import BatchRefused, Lane, LaneBlocked, LaneBusy, LaneDown
from stepgres_service.store.run_changes import ChangedRun
from stepgres_service.store.tasks import EndedRun, Exchange, LeasedTask

_log = structlog.get_logger(__name__)

_FAULT_PAUSE_S = 1.0  # a lane rests so long after a fault of ours
_BATCH_BYTES = 8 << 20  # of results in a transaction; one larger result travels alone
_CONFLICT_RETRIES = 3  # of the same results, before their parts are sent
_ASIDE_S = 1.0  # results of locked runs wait so long before another try
_HELD_S = 0.05  # who has a run for longer than that is no lane and no other transition: nobody waits for it
_SLOW_S = 0.25  # a transaction that takes longer waits for somebody, and its lane is no company for the others
_BUSY_MS = 1000  # after which a worker sends again what was too much
_RESEND_S = 60.0  # within which it should have: no timeout of its task before
_TEXT_REFUSED = b"the result's text was refused by the database"


class Watches(Protocol):
    """Follows runs; see WatchHub."""

    def touch(self, run_ids: Iterable[bytes], *, ended: bool = False) -> None:
        """Hears that runs have changed."""

    def due(self, run_ids: Iterable[bytes]) -> Sequence[tuple[UUID, int]]:
        """Which of these runs a transaction should read when it has changed them."""

    def take(self, changed: Iterable[ChangedRun]) -> None:
        """Takes what it has read."""


@dataclass(slots=True)
class _Batch:
    results: list[TaskResult] = field(default_factory=list)
    leases: list[PlannedLease] = field(default_factory=list)
    #: False: its runs were locked a moment ago, or a batch with them was. Those that still are wait aside, and for the
    #: others it waits but briefly.
    patient: bool = True


class Completions:
    """Collects results and runs the lanes.

    Args:
        lanes: connections, one for each transaction under way.
        definitions: loaded before a task is handed out, for its timeout and its frame.
        settings: numbers of the engine.
        watches: hear of the runs that each commit changed.
        on_ended: called after each commit with the runs that ended.
        on_recovered: called when a lane is back after a transaction of unknown outcome: what it had sent or leased
            may have been announced to nobody.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        definitions: DefinitionCache,
        settings: EngineSettings,
        watches: Watches,
        on_ended: Callable[[Sequence[EndedRun]], None],
        on_recovered: Callable[[], None],
    ) -> None:
        self._lanes = lanes
        self._definitions = definitions
        self._settings = settings
        self._watches = watches
        self._on_ended = on_ended
        self._on_recovered = on_recovered
        self.dispatcher: Dispatcher
        self._pending: deque[TaskResult] = deque()
        #: By run: what waits because somebody else has the run locked.
        self._aside: dict[bytes, list[TaskResult]] = {}
        self._aside_bytes = 0
        #: What has waited aside and is tried again.
        self._again: deque[TaskResult] = deque()
        #: Runs of which something has waited aside within the last second: what comes of them joins those that try again.
        self._doubtful: set[bytes] = set()
        #: Leases that are on their way back, since they were never delivered.
        self._returning: set[bytes] = set()
        #: Bytes of the results that wait or are under way.
        self.held_bytes = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._slow: set[Lane] = set()
        self._down: set[Lane] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

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
        self._end_aside()
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
        return not self._down

    # ------------------------------------------------------------------------------------------------ arrivals

    def add(self, results: Sequence[TaskResult]) -> None:
        """Takes results; those of workers are answered BUSY instead while too much waits already."""
        full = self.held_bytes > self._settings.max_held_bytes
        # Comparisons find what is on its way back again and again.
        results = [r for r in results if r.outcome is not Outcome.UNDELIVERED or r.token not in self._returning]
        self._returning.update(r.token for r in results if r.outcome is Outcome.UNDELIVERED)
        # Nobody would send the engine's own again; they are few, since each is of a lease.
        taken = [result for result in results if not (full and result.acknowledge)]
        for result in taken:
            result.held = result.size()
            self.held_bytes += result.held
            if result.token in result.session.leases:
                # The worker was in time, however long the database takes.
                result.session.leases[result.token] = math.inf
        if len(taken) < len(results):
            self.push_back([result for result in results if result.acknowledge])
        self._pending.extend(taken)
        self.kick()

    def push_back(self, results: Iterable[TaskResult]) -> None:
        """Answers results of workers BUSY: they come again."""
        deadline = asyncio.get_running_loop().time() + _RESEND_S
        for result in results:
            session = result.session
            session.unacked -= 1
            if result.token in session.leases:
                session.leases[result.token] = deadline
            session.send_acks([AckItem(result.token, Verdict.BUSY, Reason.OVERLOADED, "", _BUSY_MS)])

    def kick(self) -> None:
        """Lets an idle lane start when there is enough for it to do."""
        if self._idle and self._worth_a_lane():
            self._idle.popleft().set_result(None)

    def _worth_a_lane(self) -> bool:
        if self._again:
            return True
        if len(self._idle) + len(self._slow) == len(self._lanes):
            return bool(self._pending) or self.dispatcher.leasable() > 0
        enough = max(1, self.dispatcher.outstanding() // 4)
        return len(self._pending) >= enough or self.dispatcher.leasable() >= enough

    # ------------------------------------------------------------------------------------------------ lanes

    async def _run(self, lane: Lane) -> None:
        while True:
            try:
                batch = self._take()
                if batch is None and lane in self._down and not self._stopping:
                    batch = _Batch()  # an empty transaction tells whether the database is back
                if batch is not None:
                    await self._use(lane, batch)
                elif self._stopping:
                    return
                else:
                    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._idle.append(turn)
                    await turn
            except Exception:  # noqa: BLE001 a fault of ours must not stop the lane for everybody
                _log.exception("a lane stumbled; it goes on")
                await asyncio.sleep(_FAULT_PAUSE_S)

    async def _use(self, lane: Lane, batch: _Batch) -> None:
        timer = asyncio.get_running_loop().call_later(_SLOW_S, self._is_slow, lane)
        try:
            await self._handle(lane, batch)
        except LaneDown as down:
            if lane not in self._down:
                _log.warning("the database does not answer; the same results are sent again", error=down.message)
            self._down.add(lane)
            await lane.recover(down)
        finally:
            timer.cancel()
            self._slow.discard(lane)

    def _is_slow(self, lane: Lane) -> None:
        self._slow.add(lane)
        self.kick()

    def _take(self) -> _Batch | None:
        """The next batch; None when there is nothing that is worth a transaction now."""
        if self._again:
            return self._take_again()
        # Done tasks are outstanding no more: where nothing else is, what waits is what the lanes share.
        shared = max(self.dispatcher.outstanding(), len(self._pending))
        limit = min(self._settings.max_batch, max(1, (shared + 1) // 2))
        busy = len(self._lanes) - len(self._idle) - len(self._slow) - 1
        if busy > 0 and not self._stopping and not self._worth_a_lane():
            return None
        batch = _Batch(self._fill(self._pending, limit))
        if not self._stopping:
            batch.leases = self.dispatcher.plan(limit)
        if batch.results or batch.leases:
            return batch
        return self._take_again() if self._again else None

    def _take_again(self) -> _Batch:
        return _Batch(self._fill(self._again, self._settings.max_batch), patient=False)

    def _fill(self, waiting: deque[TaskResult], limit: int) -> list[TaskResult]:
        """The first results that wait, so many that a transaction carries them."""
        results: list[TaskResult] = []
        size = 0
        while waiting and len(results) < limit:
            size += waiting[0].held
            if results and size > _BATCH_BYTES:
                break
            result = waiting.popleft()
            if self._aside and run_of(result.token) in self._aside:
                self._keep_aside(result)
            elif self._doubtful and waiting is self._pending and run_of(result.token) in self._doubtful:
                self._again.append(result)
            else:
                results.append(result)
        return results

    async def _handle(self, lane: Lane, batch: _Batch) -> None:
        """Records a batch, as a whole or in parts. What could not be sent waits again.

        Raises:
            LaneDown: the database is away.
        """
        parts = deque([batch])
        conflicts = 0
        try:
            while parts:
                part, had_leases = parts[0], bool(parts[0].leases)
                try:
                    if not part.patient:  # runs were locked a moment ago
                        await self._pass_over_locked(lane, part)
                    if part.patient or part.results:
                        await self._transact(lane, part)
                except LaneDown:
                    raise
                except LaneBusy as busy:
                    conflicts += 1
                    blocked = isinstance(busy, LaneBlocked) or conflicts > _CONFLICT_RETRIES
                    rest = self._passing_over(part, busy) if blocked else [_Batch(part.results, patient=part.patient)]
                    pause_s = random.uniform(0, 0.02 * min(conflicts, _CONFLICT_RETRIES))
                except BatchRefused as refused:
                    # The lease may be at fault, where there was one.
                    rest = [_Batch(part.results)] if had_leases else self._by_item(part.results, refused)
                    pause_s = 0.0
                except Exception as error:  # noqa: BLE001 a fault of ours must not stop the lane for everybody
                    _log.exception("a batch could not be handled", results=len(part.results))
                    rest = self._by_item(part.results, error)
                    pause_s = _FAULT_PAUSE_S
                else:
                    parts.popleft()
                    continue
                parts.popleft()
                parts.extendleft(other for other in reversed(rest) if other.results)
                await asyncio.sleep(pause_s)
        finally:
            self._pending.extendleft(result for part in reversed(parts) for result in reversed(part.results))

    async def _transact(self, lane: Lane, batch: _Batch) -> None:
        leased: list[list[LeasedTask]] | None = None
        away = False
        try:
            columns = columns_of(batch.results) if batch.results else None
            requests = [lease.request for lease in batch.leases]
            watched = self._watches.due(run_of(result.token) for result in batch.results)
            exchange = await lane.exchange(columns, requests, patient=batch.patient, watched=watched)
            results, batch.results = batch.results, []  # recorded: not to be sent again, whatever happens now
            self._watches.take(exchange.changed)
            self._settle_results(results, exchange)
            if lane in self._down:
                self._down.discard(lane)
                self._on_recovered()
            await self._load_definitions(exchange)
            leased = exchange.leased
        except LaneDown:
            away = True
            raise
        finally:
            self._settle_leases(batch, leased, away=away)

    async def _load_definitions(self, exchange: Exchange) -> None:
        """Loads what the leased tasks refer to.

        Without it they are not handed out: the comparison frees them, or they are cancelled with their deleted flow.
        """
        known = self._definitions.get
        missing = self._definitions.missing((t.version_id, t.step_index) for leased in exchange.leased for t in leased)
        if missing:
            with contextlib.suppress(StepgresError):
                await self._definitions.load_all(missing)
            for leased in exchange.leased:
                leased[:] = [task for task in leased if known(task.version_id, task.step_index) is not None]

    def _settle_leases(self, batch: _Batch, leased: list[list[LeasedTask]] | None, *, away: bool) -> None:
        back: list[TaskResult] = []
        leases, batch.leases = batch.leases, []
        for position, lease in enumerate(leases):
            undelivered = self.dispatcher.settle(lease, None if leased is None else leased[position], away=away)
            back += [TaskResult(s, token, Outcome.UNDELIVERED, acknowledge=False) for s, token in undelivered]
        if back:
            self.add(back)

    # ------------------------------------------------------------------------------------------------ parts

    def _passing_over(self, batch: _Batch, blocked: StepgresError) -> list[_Batch]:
        """What is tried next when somebody holds a lock that a batch needs: most likely those of some runs."""
        return [_Batch(batch.results, patient=False)] if batch.patient else self._by_run(batch.results, blocked)

    async def _pass_over_locked(self, lane: Lane, batch: _Batch) -> None:
        """Sets aside what belongs to runs that somebody keeps. A busy run is locked nearly always, by others each time."""
        locked = await lane.locked_runs({run_of(result.token) for result in batch.results})
        if not locked:
            return
        await asyncio.sleep(_HELD_S)
        kept = {run_id for run_id, by in (await lane.locked_runs(locked)).items() if locked[run_id] == by}
        aside = [result for result in batch.results if run_of(result.token) in kept]
        batch.results = [result for result in batch.results if run_of(result.token) not in kept]
        self._set_aside(aside, "another transaction keeps the run locked")

    def _by_run(self, results: list[TaskResult], error: StepgresError) -> list[_Batch]:
        """Halves of a batch for which somebody holds a lock other than a run's; what belongs to one run waits aside."""
        runs: dict[bytes, list[TaskResult]] = {}
        for result in results:
            runs.setdefault(run_of(result.token), []).append(result)
        groups = list(runs.values())
        if len(groups) == 1:
            self._set_aside(results, error.message)
        if len(groups) < 2:
            return []
        middle = len(groups) // 2
        return [
            _Batch([r for group in half for r in group], patient=False) for half in (groups[:middle], groups[middle:])
        ]

    def _set_aside(self, results: list[TaskResult], error: str) -> None:
        new = [result for result in results if not result.was_aside]
        if new:
            _log.warning(
                "results cannot be recorded now; they are tried every second",
                run=str(UUID(bytes=run_of(new[0].token))),
                runs=len({run_of(result.token) for result in new}),
                results=len(new),
                error=error,
            )
        for result in results:
            result.was_aside = True
            self._keep_aside(result)

    def _keep_aside(self, result: TaskResult) -> None:
        """Keeps a result of a locked run; sends it back when so many bytes wait aside that others would find no room."""
        enough = self._settings.max_held_bytes // 4
        if result.acknowledge and 0 < self._aside_bytes > enough - result.held:
            self.held_bytes -= result.held
            self.push_back([result])
            return
        if not self._aside:
            asyncio.get_running_loop().call_later(_ASIDE_S, self._end_aside)
        self._aside_bytes += result.held
        self._aside.setdefault(run_of(result.token), []).append(result)

    def _end_aside(self) -> None:
        for results in self._aside.values():
            self._again.extend(results)
        self._doubtful = doubtful = set(self._aside)
        asyncio.get_running_loop().call_later(_ASIDE_S, doubtful.clear)
        self._aside.clear()
        self._aside_bytes = 0
        self.kick()

    def _by_item(self, results: list[TaskResult], error: Exception) -> list[_Batch]:
        """Halves of a batch in which an item is at fault; alone it becomes a failure that nothing speaks against."""
        if len(results) > 1:
            middle = len(results) // 2
            return [_Batch(results[:middle]), _Batch(results[middle:])]
        return [_Batch([result]) for result in results if self._softened(result, error)]

    def _softened(self, result: TaskResult, error: Exception) -> bool:
        if not isinstance(error, BatchRefused) or result.outcome not in (Outcome.COMPLETED, Outcome.FAILED):
            self._give_up(result, error)
            return False
        if result.outcome is Outcome.COMPLETED:
            result.message = f"the output was refused by the database: {error.message}".encode()[:8000]
            result.outcome, result.output, result.retryable = Outcome.FAILED, None, False
        elif result.message != _TEXT_REFUSED:
            # Even a failure: only its texts can be at fault, so they go.
            result.message, result.details = _TEXT_REFUSED, None
        else:
            self._give_up(result, error)
            return False
        result.code = Reason.INVALID_OUTPUT.encode()
        result.rejected = result.rejected or Reason.INVALID_OUTPUT
        return True

    def _give_up(self, result: TaskResult, error: Exception) -> None:
        """Drops a result of which nothing can be recorded. Its lease stays, and runs into its timeout soon."""
        token = decode_token(result.token)
        assert token is not None, "only tokens of ours come so far"
        _log.error(
            "nothing of a result can be recorded; its task will time out",
            run=str(UUID(bytes=token.run_id)),
            step_index=token.step_index,
            task_index=token.task_index,
            outcome=result.outcome.name,
            error=str(error),
        )
        self.held_bytes -= result.held
        self._returning.discard(result.token)
        session = result.session
        if result.token in session.leases:
            # What the engine itself could not record it tries again, but seldom.
            now = asyncio.get_running_loop().time()
            session.leases[result.token] = now if result.acknowledge else now + _RESEND_S
        if result.acknowledge:
            session.unacked -= 1
            session.send_acks([AckItem(result.token, Verdict.STALE, Reason.INTERNAL, str(error))])

    def _settle_results(self, results: list[TaskResult], exchange: Exchange) -> None:
        changed: set[bytes] = set()
        acks: dict[Session, list[AckItem]] = {}
        for result, verdict in zip(results, exchange.verdicts, strict=True):
            self.held_bytes -= result.held
            session, token = result.session, result.token
            self._returning.discard(token)
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
            self._watches.touch(changed)
        if exchange.ended:
            self._on_ended(exchange.ended)
