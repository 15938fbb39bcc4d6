"""Results of tasks on their way into the database, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from stepgres_service.engine.sessions import Session
from stepgres_service.engine.tokens import token_columns
from stepgres_service.errors import Reason
from stepgres_service.store.tasks import ResultColumns


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
    #: Bytes it is counted with while it waits.
    held: int = 0
    #: Its run was locked for long.
    was_aside: bool = False

    def size(self) -> int:
        """Bytes it holds in memory, roughly."""
        return 200 + len(self.output or b"") + len(self.message or b"") + len(self.details or b"")


def columns_of(results: Sequence[TaskResult]) -> ResultColumns:
    """Results side by side, as the database takes them; at least one."""
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
