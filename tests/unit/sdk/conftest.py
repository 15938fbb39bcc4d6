"""A fake coordinator and a clock that stands still."""

from __future__ import annotations

import pytest

from stepgres_worker.testing import FakeTransport, ManualClock


@pytest.fixture
def fake() -> FakeTransport:
    """A coordinator in memory."""
    return FakeTransport()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that a test moves."""
    return ManualClock()
