"""Who gets which tasks: routes with work on one side, sessions with credits on the other.

Sessions that serve the same handlers form a group; a group knows which of its routes are hot, that is, may have a
message. A route becomes hot by a notification, by a transaction of ours, or by the poll; it turns cold when a lease
brings less than was asked. Only hot routes of groups with credits are leased, so an idle system asks nothing and a
backlog that nobody here serves is never looked at.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import structlog

from stepgres_service.engine.sessions import Session, Stop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import encode_token, run_of
from stepgres_service.store.tasks import LeasedTask, LeaseRequest, TaskStore

_log = structlog.get_logger(__name__)

#: Seconds the coordinator waits beyond a task's timeout, so that the worker's own report comes first.
TIMEOUT_SLACK_S = 1.0

#: Leases begin so many messages before the first one that was seen: transactions that were open then bring lower ids.
_LATE_IDS = 10_000

#: Leases in a row that may fail before the routes are asked for one by one.
_LEASE_FAILURES = 3


class Timeouts(Protocol):
    """Knows how long an attempt of a step may take."""

    def timeout_s(self, version_id: int, step_index: int) -> float | None:
        """Seconds; None when the definition is not loaded."""


@dataclass(slots=True)
class HotRoute:
    """A route that may have a message."""

    #: Number of the wake that made it hot, or of a later one.
    wake: int
    #: Leases look at no message of a lower id.
    from_id: int = 0


@dataclass(slots=True, eq=False)
class Group:
    """Sessions that serve the same handlers."""

    handlers: frozenset[tuple[str, str]]
    sessions: list[Session] = field(default_factory=list)
    #: By route id; the first is leased first. One that was cold comes first: it has little to do, and should not wait until
    #: those with long queues have had their turns.
    hot: OrderedDict[int, HotRoute] = field(default_factory=OrderedDict)
    #: Running average of the bytes of an input; large until a lease has told, so that the first cannot fill the memory.
    input_bytes: float = 65536.0
    #: Leases in a row that failed.
    failures: int = 0
    #: So many of the next leases ask for one route each: one of them makes leases fail, and the others should go on.
    alone: int = 0
    #: Session that is served first next time.
    turn: int = 0

    def credits(self) -> int:
        """Tasks its connected sessions can take now."""
        return sum(session.credits for session in self.sessions if session.connected)


@dataclass(slots=True)
class PlannedLease:
    """A lease that is under way; the credits are taken from the sessions until it is settled."""

    group: Group
    sessions: list[Session]
    request: LeaseRequest
    #: Wake number of each route when it was asked.
    wakes: dict[int, int]
    #: It asks for one route because leases of several have failed.
    alone: bool
    #: Leases are counted as they are planned, from 1.
    number: int


class Dispatcher:
    """Plans leases and hands out what they bring.

    Args:
        store: looks up what unknown routes mean.
        timeouts: for the deadline of each lease.
        settings: numbers of the engine.
        on_work: called when there may be something to lease.
    """

    def __init__(
        self, store: TaskStore, timeouts: Timeouts, settings: EngineSettings, on_work: Callable[[], None]
    ) -> None:
        self._store = store
        self._timeouts = timeouts
        self._settings = settings
        self._on_work = on_work
        self.sessions: dict[bytes, Session] = {}
        self._groups: dict[frozenset[tuple[str, str]], Group] = {}
        #: (scope, handler) -> groups that serve it.
        self._serving: dict[tuple[str, str], list[Group]] = {}
        #: Route -> (scope, handler); forgotten as a whole when it grows beyond its bound.
        self._routes: dict[int, tuple[str, str]] = {}
        self._wake_number = 0
        #: Credits taken by leases that are under way.
        self._reserved = 0
        #: Number of the lease planned last.
        self.planned = 0
        self._under_way: set[int] = set()
        self._unknown: set[int] = set()
        self._lookup: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------ sessions

    def add(self, session: Session) -> None:
        """Starts handing out tasks to a session."""
        self.sessions[session.id] = session
        group = self._groups.get(session.handlers)
        if group is None:
            group = self._groups[session.handlers] = Group(session.handlers)
            for key in session.handlers:
                self._serving.setdefault(key, []).append(group)
        group.sessions.append(session)

    def remove(self, session: Session) -> None:
        """Stops handing out tasks to a session and forgets it."""
        if self.sessions.get(session.id) is not session:
            return
        del self.sessions[session.id]
        group = self._groups[session.handlers]
        group.sessions.remove(session)
        if not group.sessions:
            del self._groups[session.handlers]
            for key in session.handlers:
                groups = self._serving[key]
                groups.remove(group)
                if not groups:
                    del self._serving[key]

    # ------------------------------------------------------------------------------------------------ wake-ups

    def wake(self, route_ids: Iterable[int]) -> None:
        """Says that routes may have messages."""
        self._wake_number += 1
        serving = self._serving
        if not serving:
            return
        for route_id in route_ids:
            key = self._routes.get(route_id)
            if key is None:
                self._unknown.add(route_id)
                continue
            for group in serving.get(key, ()):
                hot = group.hot.get(route_id)
                if hot is None:
                    group.hot[route_id] = HotRoute(self._wake_number)
                    group.hot.move_to_end(route_id, last=False)
                else:
                    hot.wake = self._wake_number
        if self._unknown and self._lookup is None:
            # A context of its own: it works for everybody, not for the call that happened to start it.
            self._lookup = asyncio.create_task(self._look_up(), name="routes", context=Context())
        self._on_work()

    def seen(self, waiting: Iterable[tuple[int, int | None]]) -> None:
        """Says which routes had messages a moment ago, and the first of each: leases of hot ones begin near it.

        What is committed late and stands before is found all the same: the next look moves the beginning back, and no
        route turns cold by a lease that began behind its first message.
        """
        for route_id, first_id in waiting:
            key = self._routes.get(route_id)
            if first_id is None or key is None:
                continue
            for group in self._serving.get(key, ()):
                if (hot := group.hot.get(route_id)) is not None:
                    hot.from_id = max(0, first_id - _LATE_IDS)

    async def _look_up(self) -> None:
        """Learns what unknown routes mean. On an error they stay unknown: the poll names them again."""
        try:
            while self._unknown:
                asked, self._unknown = self._unknown, set()
                if len(self._routes) > 100_000:
                    self._routes.clear()
                for route_id, scope, handler in await self._store.routes(sorted(asked)):
                    self._routes[route_id] = (scope, handler)
                self.wake(asked & self._routes.keys())
        except Exception as error:  # noqa: BLE001  nobody waits for this task, so nobody else would hear of it
            _log.warning("handlers of new work could not be looked up; the next poll tries again", error=str(error))
        finally:
            self._lookup = None

    # ------------------------------------------------------------------------------------------------ leases

    def outstanding(self) -> int:
        """Tasks that workers execute or could execute: what the lanes share. Done ones count no more."""
        return self._reserved + sum(s.credits + len(s.leases) - s.unacked for s in self.sessions.values())

    def leasable(self) -> int:
        """Credits for which a hot route exists."""
        return sum(group.credits() for group in self._groups.values() if group.hot)

    def is_settled(self, number: int) -> bool:
        """Whether no lease planned up to this one is under way any more."""
        return all(other > number for other in self._under_way)

    def plan(self, limit: int) -> list[PlannedLease]:
        """Takes credits and names the routes to lease for them, at most `limit` tasks in all."""
        planned: list[PlannedLease] = []
        for group in self._groups.values():
            if limit <= 0:
                break
            if not group.hot:
                continue
            quota = min(limit, max(1, int(self._settings.lease_bytes / group.input_bytes)))
            lease = self._plan_group(group, quota)
            if lease is not None:
                planned.append(lease)
                limit -= sum(lease.request.credits)
        if len(self._groups) > 1 and planned:
            # The group that came first goes last next time.
            first = planned[0].group
            self._groups[first.handlers] = self._groups.pop(first.handlers)
        return planned

    def _plan_group(self, group: Group, quota: int) -> PlannedLease | None:
        sessions = [session for session in group.sessions if session.connected and session.credits > 0]
        if not sessions:
            return None
        group.turn = (group.turn + 1) % len(sessions)
        sessions = (sessions[group.turn :] + sessions[: group.turn])[:quota]
        # Even shares first: a lease that cannot serve everybody must not pile up at one worker.
        share = max(1, quota // len(sessions))
        credits = [min(session.credits, share) for session in sessions]
        rest = quota - sum(credits)
        for position, session in enumerate(sessions):
            more = min(rest, session.credits - credits[position])
            credits[position] += more
            rest -= more
            session.credits -= credits[position]
        self._reserved += sum(credits)
        alone = group.alone > 0
        if alone:
            group.alone -= 1
        hot = dict(islice(group.hot.items(), 1 if alone else None))
        request = LeaseRequest(
            list(hot),
            [route.from_id for route in hot.values()],
            [session.id for session in sessions],
            [session.worker_id for session in sessions],
            credits,
        )
        self.planned += 1
        self._under_way.add(self.planned)
        wakes = {route_id: route.wake for route_id, route in hot.items()}
        return PlannedLease(group, sessions, request, wakes, alone, self.planned)

    def settle(
        self, lease: PlannedLease, tasks: Sequence[LeasedTask] | None, *, away: bool = False
    ) -> list[tuple[Session, bytes]]:
        """Books what a lease brought and sends it.

        Args:
            lease: what was asked for.
            tasks: what came; None when its transaction failed (the credits come back).
            away: it failed since the database is away, which is no fault of the lease.

        Returns:
            Tokens of tasks that cannot be delivered since their stream has gone meanwhile.
        """
        request, group = lease.request, lease.group
        self._under_way.discard(lease.number)
        self._reserved -= sum(request.credits)
        unused = list(request.credits)
        for task in tasks or ():
            unused[task.session_item - 1] -= 1
        for session, credits in zip(lease.sessions, unused, strict=True):
            if session.connected:  # else its credits died with its stream
                session.grant(credits)
        if tasks is None:
            self._failed(lease, away=away)
            return []
        group.failures = 0
        self._cool(lease, len(tasks))
        if tasks:
            size = sum(len(task.input) for task in tasks) / len(tasks)
            group.input_bytes = max(size, 0.8 * group.input_bytes + 0.2 * size)
        return self._hand_out(lease.sessions, tasks)

    def _failed(self, lease: PlannedLease, *, away: bool) -> None:
        group = lease.group
        if lease.alone and not away:
            for route_id in lease.wakes:
                group.hot.pop(route_id, None)  # the poll names it again
                _log.warning("tasks cannot be leased; the next poll tries again", handler=self._routes.get(route_id))
            return
        for route_id, wake in lease.wakes.items():
            # Another lane may have found the route empty because this lease held its messages.
            group.hot.setdefault(route_id, HotRoute(wake))
        group.failures += not away
        if group.failures >= _LEASE_FAILURES:
            group.failures, group.alone = 0, len(group.hot)

    def _cool(self, lease: PlannedLease, count: int) -> None:
        group = lease.group
        if count < sum(lease.request.credits):
            for (route_id, wake), from_id in zip(lease.wakes.items(), lease.request.from_ids, strict=True):
                hot = group.hot.get(route_id)
                if hot is None:
                    continue
                if from_id:
                    # What was committed late may stand before: the next lease looks at everything.
                    hot.from_id = 0
                elif hot.wake == wake:
                    # Else it was woken while the lease was under way: it may have messages that the lease did not see.
                    del group.hot[route_id]
        elif len(group.hot) > 1:
            # The first route may have taken everything: it goes last next time.
            first = lease.request.route_ids[0]
            if first in group.hot:
                group.hot.move_to_end(first)

    def _hand_out(self, sessions: list[Session], tasks: Sequence[LeasedTask]) -> list[tuple[Session, bytes]]:
        undelivered: list[tuple[Session, bytes]] = []
        now = asyncio.get_running_loop().time() + TIMEOUT_SLACK_S
        timeout_s = self._timeouts.timeout_s
        for task in tasks:
            session = sessions[task.session_item - 1]
            token = encode_token(session.id, task.run_key, task.step_index, task.task_index, task.lease_seq)
            if not session.connected or self.sessions.get(session.id) is not session:
                undelivered.append((session, token))
                continue
            session.leases[token] = now + (timeout_s(task.version_id, task.step_index) or 0.0)
            session.send_task(token, task)
        return undelivered

    # ------------------------------------------------------------------------------------------------ endings

    def runs_ended(self, run_ids: set[bytes]) -> None:
        """Tells sessions to stop the tasks of runs that have ended; 16 bytes each."""
        for session in self.sessions.values():
            tokens = [token for token in session.leases if run_of(token) in run_ids]
            if tokens:
                for token in tokens:
                    del session.leases[token]
                session.send_control(Stop(tokens, "the run has ended"))
