from __future__ import annotations

import re
import subprocess

from tests.acceptance.processes import REPOSITORY, environment, stepgres

README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


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
    import socket

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
