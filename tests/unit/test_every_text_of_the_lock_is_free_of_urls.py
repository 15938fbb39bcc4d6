from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


PEERS = [f"bench/peers/{lock.name}" for lock in sorted((ROOT / "bench" / "peers").glob("*.lock"))]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements.tools.lock", *PEERS])
def test_the_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert pins
    assert all(line.endswith("\\") for line in pins), "every pin is followed by its hashes"
