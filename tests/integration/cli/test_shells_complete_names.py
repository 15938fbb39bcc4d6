"""What a shell is told after Tab, asked as the script of --show-completion asks it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient


async def offered(target: str, words: str) -> list[str]:
    """The words that bash would offer for the last one of a command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stepgres_cli",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": "/usr/bin:/bin", "STEPGRES_TARGET": target, "_STEPGRES_COMPLETE": "complete_bash",
            "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode().split()


@pytest.fixture
async def target(coordinator: Coordinator) -> str:
    target = f"127.0.0.1:{coordinator.port}"
    async with AsyncClient(target) as client:
        for slug in ("etl", "etl_small", "thumbs"):
            await client.create_flow(slug)
    return target


async def test_commands_and_options_are_offered(target: str) -> None:
    assert await offered(target, "stepgres run l") == ["list"]
    assert await offered(target, "stepgres run list --st") == ["--status"]


async def test_flows_are_offered_where_a_flow_is_named(target: str) -> None:
    assert await offered(target, "stepgres run start etl") == ["etl", "etl_small"]
    assert await offered(target, "stepgres flow get t") == ["thumbs"]
    assert await offered(target, "stepgres run list --flow thu") == ["thumbs"]
    assert await offered("127.0.0.1:9", f"stepgres flow stats --target {target} thu") == ["thumbs"]


async def test_runs_are_offered_where_a_run_is_named(target: str) -> None:
    async with AsyncClient(target) as client:
        ids = [(await client.start_run("etl")).id for _ in range(2)]
    assert sorted(await offered(target, "stepgres run get ")) == sorted(ids)
    assert await offered(target, f"stepgres run retry {ids[0]} {ids[1][:-1]}") == [ids[1]]


async def test_without_a_coordinator_nothing_is_offered_and_nothing_said() -> None:
    assert await offered("127.0.0.1:9", "stepgres run start ") == []
    assert await offered("nonsense", "stepgres run get ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_shells_get_a_script(shell: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stepgres_cli", stdout=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "_STEPGRES_COMPLETE": f"source_{shell}"},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert f"_STEPGRES_COMPLETE=complete_{shell}" in out.decode()
