"""One INFO line for each run that ends or is retried, however many end at once."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.store.tasks import EndedRun

_log = structlog.get_logger(__name__)


def log_end(run_id: str, flow: str | None, status: str, duration_s: float) -> None:
    """Logs a run that has ended.

    Args:
        run_id: the run.
        flow: its flow; None when it was deleted.
        status: how it ended.
        duration_s: seconds from its start.
    """
    _log.info("run ended", run_id=run_id, flow=flow, status=status, duration_ms=round(duration_s * 1000, 1))


def log_retry(run_id: str, flow: str) -> None:
    """Logs a run that goes on by a retry.

    Args:
        run_id: the run.
        flow: its flow.
    """
    _log.info("run retried", run_id=run_id, flow=flow)


def log_ended(runs: Sequence[EndedRun], definitions: DefinitionCache) -> None:
    """Logs runs that have ended.

    Args:
        runs: as the transaction answered them.
        definitions: knows the flows' names.
    """
    for run in runs:
        flow = definitions.get(run.version_id, 0)
        log_end(run.run_id, flow.spec.slug if flow is not None else None, run.status, run.duration_s)
