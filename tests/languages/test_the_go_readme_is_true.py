"""Every block of the README, in an empty folder that knows nothing of the repository but where the module lies."""

from __future__ import annotations

import re
import subprocess

import pytest

from stepgres_worker import Client
from tests.acceptance.processes import Running, environment, start_dev
from tests.languages.golang import MODULE, SDK, go, need_go

README = (SDK / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
#: The programs, by the file names that stand before them.
PROGRAMS = dict(re.findall(r"^`(\w+\.go)`:\n\n```go\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL))


def test_every_block_is_a_program_with_a_name():
    assert sorted(PROGRAMS) == ["charge.go", "client.go", "execute.go", "worker.go"]
    assert len(BLOCKS) == len(PROGRAMS)
    body = PROGRAMS["worker.go"].partition(")\n\n")[2]  # what stands below the imports
    assert len([line for line in body.splitlines() if line]) <= 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_block_runs(tmp_path):
    need_go()
    (tmp_path / "go.mod").write_text(f"module example\n\ngo 1.26.0\n\nreplace {MODULE} => {SDK}\n")
    for name, program in PROGRAMS.items():
        folder = tmp_path / name.removesuffix(".go")
        folder.mkdir()
        (folder / name).write_text(program)
    go("mod", "tidy", cwd=tmp_path)
    go("vet", "./...", cwd=tmp_path)
    go("build", "-o", str(tmp_path / "bin") + "/", "./...", cwd=tmp_path)
    dev, target = start_dev()
    with dev:
        with Running(str(tmp_path / "bin" / "worker"), STEPGRES_TARGET=target) as worker:
            worker.wait_for("stepgres: connected")
            client = subprocess.run(
                [tmp_path / "bin" / "client"], env=environment(STEPGRES_TARGET=target), capture_output=True, text=True,
                timeout=60, check=True,
            )  # fmt: skip
            lines = client.stdout.splitlines()
            assert lines[-3:] == ['{"double":[2,4,6]}', "true true", "steps[0].depends_on[0] UNKNOWN_DEPENDENCY"]
            assert lines[-4] == "RUN_STATUS_COMPLETED 3"
            worker.process.terminate()
            assert worker.process.wait(30) == 0, worker.output()
        execute = subprocess.run(
            [tmp_path / "bin" / "execute"], env=environment(STEPGRES_TARGET=target), capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        assert execute.stdout.splitlines() == 2 * ['{"length":[2,2,4]} <nil>'] + ["true"]
        with Running(str(tmp_path / "bin" / "charge"), STEPGRES_TARGET=target) as worker, Client(target) as python:
            worker.wait_for("stepgres: connected")
            run = python.start_run("shop")
            assert run.result(timeout=60) == {"pay": {"account": "7", "key": f"{run.id}:pay:0"}}
            (attempt,) = [attempt for attempt in python.get_task(run.id, "pay").attempts if attempt.code]
            assert (attempt.code, attempt.message) == ("BANK_BUSY", "the bank is busy")
            (handler,) = python.list_handlers().items
            assert (handler.name, handler.description) == ("charge", "Charges an account.")
