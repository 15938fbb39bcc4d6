"""The README's code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import stepgres_worker

README = (Path(stepgres_worker.__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_worker_and_its_test() -> None:
    namespace: dict[str, Any] = {"__name__": "etl"}
    exec(BLOCKS[0], namespace)
    exec(BLOCKS[3], namespace)
    await namespace["test_double"]()
    assert namespace["fetch"]({"run": {"numbers": [1]}}) == [1]


def test_the_client_uses_what_there_is() -> None:
    compile(BLOCKS[1], "README", "exec")
    for name in re.findall(r"client\.(\w+)\(", README):
        assert hasattr(stepgres_worker.Client, name), name
    for module in re.findall(r"`(_\w+)`", README):
        assert (Path(stepgres_worker.__file__).parent / f"{module}.py").exists() or module == "__init__", module


def test_the_worker_has_about_twenty_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 20
