"""Fixtures of the acceptance tests."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _children_hear_ctrl_c() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C; tests may be run so, and children inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def state_folder() -> Iterator[Path]:
    """A folder for data, open to the user that root steps down to; pytest's own are closed to everyone else."""
    with tempfile.TemporaryDirectory(prefix="stepgres-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
