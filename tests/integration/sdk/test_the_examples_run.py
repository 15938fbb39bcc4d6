"""The programs of examples/python/dynamic, each a process of its own against a real coordinator."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from pathlib import Path

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient
from tests.integration.sdk.scripts import run_script

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "python" / "dynamic"


async def run_example(coordinator: Coordinator, name: str, *arguments: str) -> str:
    """What a program prints; it ends with 0 and says nothing else."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "STEPGRES_TARGET": f"127.0.0.1:{coordinator.port}"},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert err == b""
    return out.decode()


async def test_etl_loads_each_file_once(coordinator: Coordinator, tmp_path: Path) -> None:
    source = tmp_path / "notes"
    source.mkdir()
    for number in range(7):
        (source / f"{number}.md").write_text("word " * number + "\n" * number)
    database = tmp_path / "out.sqlite"
    said = await run_example(coordinator, "etl.py", str(source), str(database))
    assert said.startswith("7 files with 21 words are in ")
    assert said.rstrip().endswith("6.md")
    with sqlite3.connect(database) as found:
        rows = found.execute("select path, lines, words from files order by path").fetchall()
    assert rows == [(str(source / f"{number}.md"), number, number) for number in range(7)]


async def test_etl_reads_the_docs_of_this_repository(coordinator: Coordinator) -> None:
    files = len(list((ROOT / "docs").rglob("*.md")))
    assert (await run_example(coordinator, "etl.py")).startswith(f"{files} files with ")


async def test_tenants_get_flows_of_their_own(coordinator: Coordinator) -> None:
    said = await run_example(coordinator, "tenants.py")
    assert sorted(said.splitlines()) == [
        "call to acme: 60", "call to initech: 0", "mail to acme: 60", "mail to globex: 30", "mail to initech: 0",
    ]  # fmt: skip


async def test_an_ab_test_compares_two_versions(coordinator: Coordinator) -> None:
    first, second, verdict = (await run_example(coordinator, "ab_test.py")).splitlines()
    counts = [int(line.split(": ")[1].split()[0]) for line in (first, second)]
    assert sum(counts) == 40
    assert min(counts) >= 10
    assert verdict == "version 2 packs more"


async def test_a_plan_is_repaired_from_its_violations_alone(coordinator: Coordinator) -> None:
    lines = (await run_example(coordinator, "plan_repair.py")).splitlines()
    assert lines[0] == "round 1: 5 violations"
    assert sum(line.startswith("round") for line in lines) <= 2
    assert lines[-2] == 'valid: ["weather", "hotels", "compare", "book"]'
    assert lines[-1] == "hotels for Oslo + weather for Oslo"


async def test_the_guide_to_dynamic_workflows_runs(coordinator: Coordinator) -> None:
    guide = (ROOT / "docs" / "dynamic-workflows.md").read_text()
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", guide, flags=re.MULTILINE | re.DOTALL))
    lines = (await run_script(coordinator, program)).splitlines()
    assert "lookup: Looks something up. `params.what` says what." in lines
    assert sum(line.startswith("wrong: ") for line in lines) == 2
    assert any('no worker serves "join_text" now' in line for line in lines if line.startswith("doubtful: "))
    assert lines[-2:] == ["museums in Rome; weather in Rome", "museums in Oslo"]


async def test_agents_plan_and_run_once(coordinator: Coordinator) -> None:
    first, second = (await run_example(coordinator, "agents.py")).splitlines()
    text = "Oslo is the capital of Norway. Rome lies on the Tiber."
    assert first == f"{text} (steps: look_up_1, look_up_2, text; new run: True)"
    assert second == f"{text} (steps: look_up_1, look_up_2, text; new run: False)"
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        runs = [run.flow for run in await client.list_runs()]
    assert len(runs) == 2  # the question and its plan, however often it was asked
