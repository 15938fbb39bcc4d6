"""Enforces timeouts of leases here, a little after the worker should have done it itself."""

from __future__ import annotations

import asyncio
import math

from stepgres_service.engine.completions import Completions
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.registry import SessionRegistry
from stepgres_service.engine.results import Outcome, TaskResult
from stepgres_service.engine.sessions import Stop
from stepgres_service.errors import Reason


class TimeoutLoop(Loop):
    """Looks at every lease once a second: some 0.1 ms for a thousand."""

    name = "timeouts"

    def __init__(self, registry: SessionRegistry, completions: Completions) -> None:
        super().__init__()
        self._registry = registry
        self._completions = completions

    async def run_once(self) -> float:
        """Fails what is overdue with TIMEOUT and tells the worker to stop it."""
        now = asyncio.get_running_loop().time()
        for session in self._registry.sessions.values():
            overdue = [token for token, deadline in session.leases.items() if deadline <= now]
            if not overdue:
                continue
            for token in overdue:
                session.leases[token] = math.inf
            self._completions.add(
                [
                    TaskResult(
                        session,
                        token,
                        Outcome.FAILED,
                        code=Reason.TIMEOUT.encode(),
                        message=b"the handler took longer than the step's timeout and its worker did not stop it",
                        acknowledge=False,
                    )
                    for token in overdue
                ]
            )
            session.send_control(Stop(overdue, "the task took longer than its timeout", lost=True))
        return 1.0
