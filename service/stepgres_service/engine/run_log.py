"""One INFO line for each run that ends, however many end at once."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.store.tasks import EndedRun

_log = structlog.get_logger(__name__)


def log_ended(runs: Sequence[EndedRun], definitions: DefinitionCache) -> None:
    """Logs runs that have ended.

    Args:
        runs: as the transaction answered them.
        definitions: knows the flows' names.
    """
    for run in runs:
        flow = definitions.get(run.version_id, 0)
        _log.info(
            "run ended",
            run_id=run.run_id,
            flow=flow.spec.slug if flow is not None else None,
            status=run.status,
            duration_ms=round(run.duration_s * 1000, 1),
        )
