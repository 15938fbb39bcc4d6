"""Failed attempts in the worker's log: whoever runs a worker sees what its handlers raise, where they raise it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ._errors import TaskError
from ._outcome import beyond_the_sdk

if TYPE_CHECKING:
    from stepgres.v1 import worker_pb2

    from ._executor import Execution
    from ._models import FlowInfo

logger = logging.getLogger("stepgres_worker")

#: Most characters of a failure's message in its line; all of it is in the task's attempts.
_CHARACTERS = 500


class Attempts:
    """How many attempts the steps have that this worker knows: those of the flows it has registered."""

    def __init__(self) -> None:
        self._most: dict[tuple[str, int, str], int] = {}

    def learn(self, info: FlowInfo) -> None:
        """Notes the attempts of a flow's steps; a flow of another version is another one."""
        for step in info.steps:
            most = step.max_attempts or info.max_attempts
            if most:
                self._most[info.slug, info.version, step.slug] = most

    def most(self, task: worker_pb2.LeasedTask) -> int:
        """The attempts a task has in all; 0 = not known here."""
        return self._most.get((task.flow, task.version, task.step), 0)


def log_failure(execution: Execution, failure: worker_pb2.Failed, most: int) -> None:
    """Writes one WARNING for a failed attempt.

    With the traceback, unless the handler said it all by TaskError or raised nothing.

    Args:
        execution: whose attempt; its `error` is what the handler raised.
        failure: what is sent.
        most: attempts that the step has; 0 = not known.
    """
    if not logger.isEnabledFor(logging.WARNING):
        return
    task, error = execution.task, execution.error
    execution.error = None  # its frames hold the execution in turn
    where = f"{task.flow}.{task.step}"
    text = " ".join(failure.message.split())
    told = error is None or isinstance(error, TaskError)
    record = logger.makeRecord(
        logger.name,
        logging.WARNING,
        __file__,
        0,
        "%s[%d]%s of run %s: attempt %s failed, %s: %s: %s",
        (
            where,
            task.task_index,
            "" if task.handler == where else f" (handler {task.handler})",
            task.run_id,
            f"{task.attempt} of {most}" if most else f"{task.attempt}",
            "not retryable" if failure.non_retryable else "the last" if 0 < most <= task.attempt else "retryable",
            failure.code,
            text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…",
        ),
        None if error is None or told else (type(error), error, beyond_the_sdk(error.__traceback__)),
        extra={
            "run_id": task.run_id,
            "flow": task.flow,
            "step": task.step,
            "task_index": task.task_index,
            "attempt": task.attempt,
            "code": failure.code,
        },
    )
    if not told:  # what formatters would make of it may hold lone surrogates, which no file and no terminal takes
        record.exc_text = failure.details.rstrip()
    logger.handle(record)
