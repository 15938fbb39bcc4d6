from __future__ import annotations

import json
import re
import socket
import subprocess
import sys

import psycopg
import pytest

from tests.acceptance.processes import REPOSITORY, Running, environment, start_dev, stepgres

README = (REPOSITORY / "README.md").read_text()
QUICKSTART = (REPOSITORY / "docs" / "quickstart.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_worker_in_the_readme_is_the_example():
    example = (REPOSITORY / "examples" / "python" / "hello" / "hello.py").read_text()
    shown = blocks("python")[0]
    assert shown in example.replace("from __future__ import annotations\n\n", "")


def test_the_quickstart_runs_as_written(state_folder):
    """All but `make setup`, which made the environment that runs this test; on free ports, by the documented settings."""
    script = next(block for block in blocks("sh") if "stepgres dev" in block)
    assert len(script.splitlines()) <= 20
    script = script.replace("make setup && ", "", 1)
    port = free_port()
    env = environment(
        XDG_STATE_HOME=str(state_folder), STEPGRES_LISTEN=f"127.0.0.1:{port}", STEPGRES_TARGET=f"127.0.0.1:{port}"
    )
    answer = subprocess.run(
        ["bash", "-ec", script + "wait\n"], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert '{\n  "card": "Hello, Ada! Hello, Grace! Hello, Barbara!"\n}' in answer.stdout, answer.stdout + answer.stderr
    assert "completed" in answer.stdout
    assert "Traceback" not in answer.stderr
    assert stepgres("health", target=f"127.0.0.1:{port}").returncode == 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_file_that_the_documents_link_to_exists():
    documents = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    missing = [
        f"{document.name}: {link}"
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert not missing


@pytest.mark.slow
def test_the_longer_quickstart_defines_serves_and_runs(tmp_path):
    """Its commands, its SQL at the address that `stepgres dev` tells, its worker module, and its client in Python."""
    shell, python = blocks("sh", QUICKSTART), blocks("python", QUICKSTART)
    (tmp_path / "my_module.py").write_text(python[0])
    (tmp_path / "input.json").write_text("{}")
    dev, target = start_dev()
    with dev:
        env = environment(STEPGRES_TARGET=target)
        define = "".join(block for block in shell if "flow create" in block)
        subprocess.run(["sh", "-ec", define], check=True, env=env, timeout=60, capture_output=True)
        database = dev.wait_for(r"PostgreSQL: (\S+)").group(1)
        with psycopg.connect(database, autocommit=True) as conn:
            for statement in blocks("sql", QUICKSTART)[0].splitlines():
                conn.execute(statement)
        told = stepgres("flow", "get", "ai3", "--output", "json", target=target).stdout
        assert [step["step_type"] for step in json.loads(told)["steps"]] == ["single", "map"]
        serve = next(block for block in shell if "worker run" in block)
        with Running("sh", "-c", f"exec {serve}", cwd=tmp_path, STEPGRES_TARGET=target) as worker:
            run = next(block for block in shell if "run start" in block)
            answer = subprocess.run(
                ["sh", "-ec", run], cwd=tmp_path, env=env, timeout=60, capture_output=True, text=True, check=False
            )
            assert '"save": 12' in answer.stdout, answer.stdout + answer.stderr + worker.output()
            client = subprocess.run(
                [sys.executable, "-c", python[1]], env=env, timeout=60, capture_output=True, text=True, check=True
            )
            assert client.stdout == "12\n"
