"""Fixtures of the acceptance tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def state_folder() -> Iterator[Path]:
    """A folder for data, open to the user that root steps down to; pytest's own are closed to everyone else."""
    with tempfile.TemporaryDirectory(prefix="stepgres-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
