"""Sessions: who may hold leases, and until when."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from stepgres_service.store.own_connection import OwnConnection
from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries

_SQL = load_queries("sessions")


@dataclass(frozen=True, slots=True)
class ServedHandler:
    """A handler that a session serves in a scope."""

    scope: str
    name: str
    description: str = ""
    #: JSON Schemas as text; None when unknown.
    params_schema: str | None = None
    input_schema: str | None = None
    output_schema: str | None = None

    @property
    def content_hash(self) -> bytes:
        """What it tells of itself, name and scope left out, as one number: equal contents are stored once."""
        parts = (self.description, self.params_schema, self.input_schema, self.output_schema)
        return hashlib.sha256(orjson.dumps(parts)).digest()


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that a resumed session still has."""

    #: Position in the request, from 0.
    item: int
    #: Seconds since its hand-out.
    age_s: float
    #: The version whose step it is.
    version_id: int


@dataclass(frozen=True, slots=True)
class ResumedSession:
    """A session on its new stream."""

    epoch: int
    worker_id: int
    held: tuple[HeldLease, ...]


class SessionStore:
    """Calls the transitions of sessions."""

    def __init__(self, database: Database, coordinator_id: UUID, max_lost_leases: int) -> None:
        self._database = database
        self._coordinator_id = coordinator_id
        self._max_lost_leases = max_lost_leases
        #: Calls that wait behind somebody's lock may fill the pool; leases would run out meanwhile.
        self._own = OwnConnection(database)

    async def stop(self) -> None:
        """Closes the connection that renewals have for themselves."""
        await self._own.close()

    async def open(
        self,
        session_id: UUID,
        instance_hash: bytes,
        worker: str,
        sdk: str,
        lease_ms: int,
        grace_ms: int,
        handlers: Sequence[ServedHandler],
    ) -> int:
        """Opens a session for one lease from now. Returns the worker's interned id."""
        async with self._database.transaction() as conn:
            cursor = await conn.execute(
                _SQL["open_session"],
                (session_id, instance_hash, self._coordinator_id, worker, sdk, lease_ms, grace_ms),
            )
            row = await cursor.fetchone()
            await self._serve(conn, session_id, handlers)
        assert row is not None
        return int(row[0])

    async def resume(
        self,
        session_id: UUID,
        instance_hash: bytes,
        lease_ms: int,
        grace_ms: int,
        handlers: Sequence[ServedHandler],
        held: Sequence[tuple[UUID, int, int, int]],
    ) -> ResumedSession | None:
        """Moves a session here. None when it is closed, unknown, or another's.

        Args:
            held: (run, step, task, lease_seq) of the leases that the worker still has; the others go back.
        """
        columns = [list(column) for column in zip(*held, strict=True)] if held else [[], [], [], []]
        async with self._database.transaction() as conn:
            cursor = await conn.execute(
                _SQL["resume_session"],
                (session_id, instance_hash, self._coordinator_id, lease_ms, grace_ms, *columns),
            )
            rows = await cursor.fetchall()
            if not rows:
                return None
            await self._serve(conn, session_id, handlers)
        leases = tuple(HeldLease(row[2] - 1, row[3], row[4]) for row in rows if row[2] is not None)
        return ResumedSession(rows[0][0], rows[0][1], leases)

    async def _serve(self, conn: object, session_id: UUID, handlers: Sequence[ServedHandler]) -> None:
        await conn.execute(  # type: ignore[attr-defined]
            _SQL["serve_handlers"],
            (
                session_id,
                [h.scope for h in handlers],
                [h.name for h in handlers],
                [h.content_hash for h in handlers],
                [h.description for h in handlers],
                [h.params_schema for h in handlers],
                [h.input_schema for h in handlers],
                [h.output_schema for h in handlers],
            ),
        )

    async def renew(
        self,
        session_ids: Sequence[bytes],
        epochs: Sequence[int],
        lease_ms: int,
        credits: Sequence[int],
        silent_ms: Sequence[int],
        *,
        limit_s: float,
    ) -> set[bytes]:
        """Renews leases in one statement. Returns the sessions that were renewed, 16 bytes each.

        Args:
            session_ids: the sessions; the other sequences run side by side with it.
            epochs: of the sessions as they are here.
            lease_ms: length of the lease from now.
            credits: tasks asked for and not handed out, for the list of workers.
            silent_ms: milliseconds since the last frame, for the same.
            limit_s: seconds after which the connection is given up.

        Raises:
            Unavailable: there was no answer in time.
        """
        columns = ([UUID(bytes=s) for s in session_ids], list(epochs), lease_ms, list(credits), list(silent_ms))

        async def renew(conn: AsyncConnection[Any]) -> set[bytes]:
            cursor = conn.cursor(binary=True)
            await cursor.execute(_SQL["renew_sessions"], columns)
            return {row[0] for row in await cursor.fetchall()}

        return await self._own.ask(limit_s, renew)

    async def close(self, session_ids: Sequence[bytes], epochs: Sequence[int], *, lost: bool) -> int:
        """Ends sessions; returns the number of tasks that went back.

        Args:
            lost: the worker vanished: its leases count as lost. False after Goodbye.
        """
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                _SQL["close_sessions"],
                ([UUID(bytes=s) for s in session_ids], list(epochs), lost, self._max_lost_leases),
            )
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def sweep(self, heard_at: datetime, max_silence_s: float) -> tuple[list[str], datetime]:
        """Ends sessions whose lease ran out, here or elsewhere. Returns them, and the database's time.

        Args:
            heard_at: the database's time as it was told last.
            max_silence_s: seconds after it in which the sweep must reach the database, else it ends nothing.
        """
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                _SQL["sweep_sessions"], (self._max_lost_leases, heard_at, round(max_silence_s * 1000))
            )
            *ended, (_, now) = await cursor.fetchall()
        return [row[0] for row in ended], now

    async def clock(self) -> datetime:
        """The database's time."""
        async with self._database.connection() as conn:
            row = await (await conn.execute(_SQL["read_clock"])).fetchone()
        assert row is not None
        return cast(datetime, row[0])

    async def leases(self, session_ids: Sequence[bytes], *, limit_s: float) -> list[tuple[bytes, bytes, int, int, int]]:
        """Leases by the database's account: (session, run, step, task, lease_seq).

        Args:
            session_ids: of these sessions.
            limit_s: seconds after which the connection is given up.

        Raises:
            Unavailable: there was no answer in time.
        """

        async def read(conn: AsyncConnection[Any]) -> list[tuple[bytes, bytes, int, int, int]]:
            cursor = conn.cursor(binary=True)
            await cursor.execute(_SQL["leases_of_sessions"], ([UUID(bytes=s) for s in session_ids],))
            return [(row[0], row[1], row[2], row[3], row[4]) for row in await cursor.fetchall()]

        return await self._own.ask(limit_s, read)
