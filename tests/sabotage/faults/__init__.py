"""The faults: what somebody might get wrong in one line, and the test that must not let it pass."""

from __future__ import annotations

from tests.sabotage.faults import coordinators, fence, graphs, leases, sessions
from tests.sabotage.faults.fault import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS = (*fence.FAULTS, *leases.FAULTS, *graphs.FAULTS, *sessions.FAULTS, *coordinators.FAULTS)
