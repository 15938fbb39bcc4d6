"""The sessions of this coordinator: opening, resuming, and every way of ending."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.dispatch import TIMEOUT_SLACK_S, Dispatcher
from stepgres_service.engine.sessions import DrainNotice, Session, Stop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import Token, decode_token
from stepgres_service.errors import Aborted, DeadlineExceeded, Reason, ResourceExhausted, StepgresError, Unavailable
from stepgres_service.store.sessions import ResumedSession, ServedHandler, SessionStore

_log = structlog.get_logger(__name__)

#: Longest wait for a Goodbye on its way to the database, of the worker and of a coordinator that stops; locks keep it
#: less long. A worker that leaves while the database is away need not see its return.
_FAREWELL_S = 3.0
#: Ends per statement, of those that are told again.
_CLOSES = 500


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker says of itself."""

    worker: str
    instance_id: bytes
    sdk: str
    handlers: tuple[ServedHandler, ...]
    #: Session to resume; None for a new one.
    session_id: UUID | None = None
    #: Tokens it still holds.
    held_tokens: tuple[bytes, ...] = field(default=())
    #: Milliseconds its leases wait when the stream breaks; 0 = the default.
    grace_ms: int = 0


class SessionRegistry:
    """Opens, resumes and ends sessions.

    Args:
        store: calls the transitions of sessions.
        dispatcher: hands tasks to the sessions.
        definitions: for the deadlines of leases that a session brings along.
        settings: numbers of the engine.
        on_opened: called after a session was added; work may wait for it.
    """

    def __init__(
        self,
        store: SessionStore,
        dispatcher: Dispatcher,
        definitions: DefinitionCache,
        settings: EngineSettings,
        on_opened: Callable[[], None],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._definitions = definitions
        self._settings = settings
        self._on_opened = on_opened
        self._graces: dict[bytes, asyncio.Task[None]] = {}
        #: Sessions on their way through the database.
        self._opening = 0
        #: Ends that the database is being told of.
        self._closing: set[asyncio.Task[None]] = set()
        #: Sessions that said Goodbye while the database was away.
        self._unclosed: list[Session] = []
        self._draining = False

    @property
    def sessions(self) -> dict[bytes, Session]:
        """Sessions by id, those in their grace included."""
        return self._dispatcher.sessions

    # ------------------------------------------------------------------------------------------------ opening

    async def open(self, hello: Hello) -> tuple[Session, bool]:
        """Opens a session, or resumes the one that hello names.

        Returns:
            The session, and whether it was resumed. What the worker holds and the session does not have any more is
            waiting as a LeaseLost frame.

        Raises:
            Unavailable: the coordinator is draining, or the database is away.
            ResourceExhausted: as many streams as allowed are served.
            Aborted: while this resume was under way, another stream resumed the same session.
        """
        self._refuse_if_draining()
        self._refuse_if_full(hello)
        self._opening += 1
        try:
            session = await self._resume(hello) if hello.session_id else None
            resumed = session is not None
            if session is None:
                session = await self._open(hello)
        finally:
            self._opening -= 1
        # From here to the end nothing is awaited: what was checked stays true.
        if self._draining and not resumed:
            self._close_soon(session)
        self._refuse_if_draining()
        self._take_over(session)
        lost = [token for token in hello.held_tokens if token not in session.leases]
        if lost:
            session.send_control(Stop(lost, "the lease is over: it was recorded, expired or cancelled", lost=True))
        self._dispatcher.add(session)
        self._on_opened()
        _log.info("worker connected", worker=session.worker, session=str(UUID(bytes=session.id)), resumed=resumed)
        return session, resumed

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise Unavailable(
                "this coordinator is shutting down; connect to another", reason=Reason.DRAINING, retry_after_s=1.0
            )

    def _refuse_if_full(self, hello: Hello) -> None:
        old = self.sessions.get(hello.session_id.bytes) if hello.session_id else None
        if old is not None and old.connected:
            return  # one stream takes the place of another
        streams = self._opening + sum(session.connected for session in self.sessions.values())
        if streams >= self._settings.max_streams:
            raise ResourceExhausted(
                f"this coordinator serves {self._settings.max_streams} streams already; connect to another, or raise "
                "STEPGRES_MAX_STREAMS",
                reason=Reason.TOO_MANY_STREAMS,
                retry_after_s=5.0,
            )

    async def _open(self, hello: Hello) -> Session:
        session_id = uuid4()
        worker_id = await self._store.open(
            session_id,
            hashlib.sha256(hello.instance_id).digest(),
            hello.worker,
            hello.sdk,
            round(self._settings.lease_s * 1000),
            self._grace_ms(hello),
            hello.handlers,
        )
        return self._session(hello, session_id, 1, worker_id)

    async def _resume(self, hello: Hello) -> Session | None:
        session_id = hello.session_id
        assert session_id is not None
        held = [decode_token(token) for token in hello.held_tokens]
        mine = [(i, t) for i, t in enumerate(held) if t is not None and t.session_id == session_id.bytes]
        resumed = await self._store.resume(
            session_id,
            hashlib.sha256(hello.instance_id).digest(),
            round(self._settings.lease_s * 1000),
            self._grace_ms(hello),
            hello.handlers,
            [(UUID(bytes=t.run_id), t.step_index, t.task_index, t.lease_seq) for _, t in mine],
        )
        if resumed is None:
            return None
        session = self._session(hello, session_id, resumed.epoch, resumed.worker_id)
        self._take_over(session)  # at once: the stream before must get no more tasks
        await self._adopt(session, resumed, [(hello.held_tokens[i], t) for i, t in mine])
        return session

    async def _adopt(self, session: Session, resumed: ResumedSession, held: list[tuple[bytes, Token]]) -> None:
        now = asyncio.get_running_loop().time()
        # In one go: nobody renews the session before it is adopted.
        missing = self._definitions.missing(
            (lease.version_id, held[lease.item][1].step_index) for lease in resumed.held
        )
        if missing:
            await self._definitions.load_all(missing)
        for lease in resumed.held:
            token, parts = held[lease.item]
            timeout_s = self._definitions.timeout_s(lease.version_id, parts.step_index) or 0.0
            session.leases[token] = now + timeout_s - lease.age_s + TIMEOUT_SLACK_S

    def _session(self, hello: Hello, session_id: UUID, epoch: int, worker_id: int) -> Session:
        return Session(
            session_id,
            epoch,
            hello.worker,
            worker_id,
            frozenset((handler.scope, handler.name) for handler in hello.handlers),
            self._grace_ms(hello) / 1000,
            self._settings.max_credits,
        )

    def _grace_ms(self, hello: Hello) -> int:
        return min(hello.grace_ms or self._settings.reconnect_grace_ms, round(self._settings.lease_s * 1000))

    # ------------------------------------------------------------------------------------------------ ending

    def _take_over(self, session: Session) -> None:
        """Drops what this coordinator still has of the streams that a session had before.

        Raises:
            Aborted: a later resume overtook this one.
        """
        taken = Aborted("the session was resumed on another stream", reason=Reason.SESSION_TAKEN)
        old = self.sessions.get(session.id)
        if old is None:
            return
        if old.epoch > session.epoch:
            raise taken
        grace = self._graces.pop(session.id, None)
        if grace is not None:
            grace.cancel()
        self._dispatcher.remove(old)
        old.end(taken)

    async def goodbye(self, session: Session) -> None:
        """Ends a session whose worker said Goodbye: what it holds goes back at once and counts as nothing."""
        self._dispatcher.remove(session)
        # In a task of its own: a worker that breaks its stream after this word has said it all the same.
        await asyncio.wait({self._close_soon(session)}, timeout=_FAREWELL_S)

    def _close_soon(self, session: Session) -> asyncio.Task[None]:
        task = asyncio.create_task(self._close([session], lost=False), name="goodbye")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def close_again(self) -> None:
        """Ends the sessions that said Goodbye while the database was away, before a sweep counts them as lost.

        Raises:
            StepgresError: it still is.
        """
        while self._unclosed:
            sessions = self._unclosed[:_CLOSES]
            await self._store.close([s.id for s in sessions], [s.epoch for s in sessions], lost=False)
            del self._unclosed[: len(sessions)]

    def broken(self, session: Session) -> None:
        """Hears that a stream broke: the session waits for its grace, then its leases are lost."""
        if self.sessions.get(session.id) is not session or not session.connected:
            return
        session.connected = False
        session.credits = 0
        self._graces[session.id] = asyncio.create_task(self._wait_for_resume(session), name="grace")

    async def _wait_for_resume(self, session: Session) -> None:
        await asyncio.sleep(session.grace_s)
        self._graces.pop(session.id, None)
        if self.sessions.get(session.id) is session:
            _log.info("worker vanished", worker=session.worker, leases=len(session.leases))
            self._dispatcher.remove(session)
            await self._close([session], lost=True)

    def unread(self, session: Session) -> None:
        """Breaks a stream whose worker does not read: it cannot be told anything now."""
        _log.warning("worker does not read its stream", worker=session.worker, leases=len(session.leases))
        session.end(
            DeadlineExceeded(
                f"the worker read nothing for {self._settings.lease_s:g} s while frames waited; read the stream, whatever "
                "the handlers do",
                reason=Reason.WORKER_SILENT,
            )
        )
        session.cut()
        self.broken(session)

    def expelled(self, session: Session, error: StepgresError) -> None:
        """Ends a session that the database does not know as ours any more."""
        self._dispatcher.remove(session)
        session.end(error)

    async def _close(self, sessions: Sequence[Session], *, lost: bool) -> None:
        try:
            await self._store.close([s.id for s in sessions], [s.epoch for s in sessions], lost=lost)
        except StepgresError as error:
            if lost:
                # Nobody renews it any more: the sweep takes its leases back when they run out.
                _log.warning("a session could not be closed; it will expire", error=error.message)
            else:
                self._unclosed.extend(sessions)
                _log.warning("a session could not be closed; it is tried again", error=error.message)

    # ------------------------------------------------------------------------------------------------ shutdown

    def drain(self, deadline_s: float) -> None:
        """Refuses new sessions, stops handing out tasks, and asks every worker to resume elsewhere."""
        self._draining = True
        for session in self.sessions.values():
            session.credits = 0
            session.max_credits = 0
            session.send_control(DrainNotice(round(deadline_s * 1000), "the coordinator is shutting down"))

    async def stop(self) -> None:
        """Ends every stream; the sessions live on in the database for their workers to resume elsewhere."""
        self._draining = True
        for grace in self._graces.values():
            grace.cancel()
        self._graces.clear()
        for session in list(self.sessions.values()):
            self.expelled(
                session,
                Unavailable(
                    "the coordinator has shut down; resume at another", reason=Reason.DRAINING, retry_after_s=0.1
                ),
            )
        if self._closing:
            await asyncio.wait(self._closing, timeout=_FAREWELL_S)
