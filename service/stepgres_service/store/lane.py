"""A connection of the engine's own for one transaction at a time, and what its errors mean for a batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from stepgres_service.errors import StepgresError, Unavailable
from stepgres_service.store.arrays import register_columns
from stepgres_service.store.own_connection import KeptConnection
from stepgres_service.store.pool import Database
from stepgres_service.store.tasks import Exchange, LeaseRequest, ResultColumns, TaskStore

_T = TypeVar("_T")

#: Seconds for an answer. Beyond it is the connection that is lost, though nobody says so: a pooler may wait for a dead
#: server. No transaction takes as long.
_ANSWER_S = 60.0


class LaneDown(Unavailable):
    """The database cannot be reached; the outcome of the transaction is unknown. Send the same batch again."""


class LaneBusy(StepgresError):
    """Another transaction was in the way; nothing was changed. Send the same batch again."""


class LaneBlocked(LaneBusy):
    """As LaneBusy, but the same batch would most likely fail again, so send its parts."""


class BatchRefused(StepgresError):
    """PostgreSQL refused a value in the batch; nothing was changed. Send its parts."""


#: SQLSTATE classes and codes after which the same batch may succeed: serialization, deadlock, and a queue that was
#: dropped with its flow, its table or its functions, while a lease was on its way to it.
_CONFLICTS = frozenset({"40001", "40P01", "42P01", "42883"})
#: Lock timeout, statement timeout or a cancelled statement: somebody holds for long what an item needs.
_WAITS = frozenset({"55P03", "57014"})
#: Data exceptions, integrity violations and program limits: an item is at fault.
_REFUSALS = ("22", "23", "54")
#: Errors of triggers, cardinality, internal errors: one item may be at fault or all of them, for a while or for good.
#: No task may fail for that; the others go on, and what stays is tried again.
_DOUBTS = ("21", "38", "39", "44", "P0", "XX")


def judge(error: psycopg.Error) -> StepgresError:
    """What an error means for the batch that met it."""
    state = error.sqlstate or ""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state in _CONFLICTS:
        return LaneBusy(text)
    if state in _WAITS or state[:2] in _DOUBTS:
        return LaneBlocked(text)
    if state[:2] in _REFUSALS or (not state and isinstance(error, psycopg.DataError)):
        return BatchRefused(text)
    return LaneDown(text)


class Lane:
    """Runs exchanges on a connection that is opened at need and again after a failure.

    Args:
        database: where to connect.
        tasks: the statements.
    """

    def __init__(self, database: Database, tasks: TaskStore) -> None:
        self._database = database
        self._tasks = tasks
        self._kept = KeptConnection()
        self._failures = 0

    def runs_on(self, pid: int) -> bool:
        """Whether a backend is this lane's."""
        return self._kept.runs_on(pid)

    def renew(self) -> None:
        """Lets the next exchange have another connection: the present one may have ended without notice."""
        self._kept.renew()

    async def exchange(
        self,
        results: ResultColumns | None,
        requests: Sequence[LeaseRequest],
        *,
        patient: bool = True,
        watched: Sequence[tuple[UUID, int]] = (),
    ) -> Exchange:
        """Records and leases in one transaction.

        Args:
            results: None when there is nothing to record.
            requests: may be empty.
            patient: waits for locks up to 1 s; else 0.1 s.
            watched: runs of the results whose state is wanted as well, each with the revision known.

        Raises:
            LaneDown: the outcome is unknown; recover() and send the same again.
            LaneBusy: nothing was changed; send the same again, or its parts when it is LaneBlocked.
            BatchRefused: nothing was changed; an item is at fault.
        """
        return await self._ask(
            lambda conn: self._tasks.exchange(conn, results, requests, patient=patient, watched=watched)
        )

    async def locked_runs(self, run_ids: Collection[bytes]) -> dict[bytes, int]:
        """Those of some runs that somebody has locked at this moment, and by which transaction; waits for none.

        Args:
            run_ids: 16 bytes each.

        Raises:
            LaneDown: recover() and ask again.
            LaneBusy, BatchRefused: as for an exchange.
        """
        return await self._ask(lambda conn: self._tasks.locked_runs(conn, run_ids))

    async def _ask(self, work: Callable[[AsyncConnection[Any]], Awaitable[_T]]) -> _T:
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await work(await self._kept.get(self._connect))
        except psycopg.Error as error:
            verdict = judge(error)
            if isinstance(verdict, LaneDown) or (error.sqlstate or "")[:2] in _DOUBTS:
                await self.close()
            else:
                await self._roll_back()
            raise verdict from error
        except OSError as error:  # no connection, or no answer, within its time
            await self.close()
            raise LaneDown(str(error) or type(error).__name__) from error
        except BaseException:
            # Cancelled, or a fault of ours: half a transaction may be on its way, and the next must not end it.
            await self.close()
            raise
        self._failures = 0
        return answer

    async def _connect(self) -> AsyncConnection[Any]:
        conn = await self._database.connect()
        register_columns(conn)
        return conn

    async def _roll_back(self) -> None:
        try:
            if self._kept.conn is not None:
                await self._kept.conn.rollback()
        except psycopg.Error:
            await self.close()

    async def recover(self, _down: LaneDown) -> None:
        """Waits before the next try: 0.1 s doubled up to 5 s, with full jitter."""
        self._failures += 1
        # The exponent is bounded: after an outage of an hour the power would be beyond what a float can hold.
        await asyncio.sleep(random.uniform(0, min(5.0, 0.1 * 2 ** min(self._failures, 10))))

    async def close(self) -> None:
        """Closes the connection."""
        await self._kept.close()
