"""Failed attempts in the worker's log: whoever runs the worker sees what its handlers raise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stepgres.v1 import common_pb2

if TYPE_CHECKING:
    from stepgres.v1 import worker_pb2

logger = logging.getLogger("stepgres_worker")


def log_failure(task: worker_pb2.LeasedTask, failure: worker_pb2.Failed) -> None:
    """Writes one WARNING for a failed attempt, with the traceback where there is one.

    The coordinator decides about the retry: it alone knows how many attempts the step has.
    """
    if not logger.isEnabledFor(logging.WARNING):
        return
    where = f"{task.flow}.{task.step}" + (f"[{task.task_index}]" if task.step_type == common_pb2.STEP_TYPE_MAP else "")
    served = "" if task.handler in ("", f"{task.flow}.{task.step}") else f" (handler {task.handler})"
    logger.warning(
        "%s%s failed in attempt %d of run %s%s: %s: %s%s",
        where,
        served,
        task.attempt,
        task.run_id,
        ", not to be retried" if failure.non_retryable else "",
        failure.code,
        failure.message,
        f"\n{failure.details.rstrip()}" if failure.details else "",
    )
