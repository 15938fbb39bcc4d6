"""docs/sdk.md: every public name is in it, its signatures are those of the code, and its program runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import stepgres_worker
from stepgres_service.server import Coordinator
from tests.integration.sdk.scripts import run_script

PAGE = (Path(__file__).parents[3] / "docs" / "sdk.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", stepgres_worker.__all__)
def test_every_public_name_is_told_of(name: str) -> None:
    assert re.search(rf"`{name}(\(.*\))?`", PROSE), f"docs/sdk.md does not tell of {name}"


@pytest.mark.parametrize("name", ["AsyncClient", "Client", "Flow", "RunSpec", "Step", "TaskError", "Worker"])
def test_signatures_are_those_of_the_code(name: str) -> None:
    signature = inspect.signature(getattr(stepgres_worker, name))
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    assert f"`{name}{inspect.Signature(bare)}`" in PROSE


def test_the_methods_of_clients_and_contexts_are_told_of() -> None:
    for owner in (stepgres_worker.Client, stepgres_worker.Run, stepgres_worker.Context, stepgres_worker.Worker):
        for name in vars(owner):
            if not name.startswith("_") and name not in {"wait", "close", "asynchronous", "step", "concurrency"}:
                assert re.search(rf"`\.?{name}(\(.*?\))?`|\b{name}\(", PROSE), f"{owner.__name__}.{name}"


async def test_its_program_runs(coordinator: Coordinator) -> None:
    lines = (await run_script(coordinator, "\n".join(BLOCKS))).splitlines()
    promised = re.findall(r"print\(.*  # (.+)$", "\n".join(BLOCKS), flags=re.MULTILINE)
    assert len(promised) > 8
    assert [text for text in promised if text not in lines] == []
    assert lines[:2] == ["1 True ('numbers', 'double', 'total')", "{'report': 'the sum is 12'}"]
    assert "[(True, ''), (False, 'FLOW_NOT_FOUND')]" in lines
    assert any(line.startswith("[(1, 'BANK_BUSY')") for line in lines)


async def test_the_map_of_the_readme_runs(coordinator: Coordinator) -> None:
    readme = (Path(stepgres_worker.__file__).parents[1] / "README.md").read_text()
    (block,) = (
        code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if ".map(over=fetch, max" in code
    )
    output = (await run_script(coordinator, block)).strip()
    assert output == "{'summary': 'Oslo: sunny; Rome: sunny'}"
    assert f"# {output}\n" in block
