"""Finding a worker by MODULE:ATTR, signals, and several processes of it. Real processes, no server needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepgres_worker import Flow, Worker
from stepgres_worker._processes import load_worker

MODULE = """
import os, sys
from stepgres_worker import Flow, Worker
from stepgres_worker.testing import FakeTransport

class Loud(FakeTransport):
    def _received(self, stream, frame):
        super()._received(stream, frame)
        kind = frame.WhichOneof("frame")
        if kind in ("hello", "goodbye"):
            os.write(1, f"{kind} {os.getpid()}\\n".encode())  # one piece, whoever writes beside
        if kind == "hello" and os.environ.get("TASK"):
            self.send_task("hold")

flow = Flow("made")
flow.step(slug="a")(lambda input: 1)
worker = Worker(transport=Loud())
worker.step("one")(lambda input: 1)

@worker.step("hold")
async def hold(input):
    import asyncio
    print("holding", os.getpid(), flush=True)
    await asyncio.Event().wait()

def make():
    return worker

broken = Worker(target="127.0.0.1:1")
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder."""
    name = f"sample_{os.getpid()}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield name
    sys.path[:] = path
    sys.modules.pop(name, None)


def test_a_reference_names_a_worker_a_flow_or_a_function(module: str) -> None:
    assert load_worker(f"{module}:worker").handlers == ("one", "hold")
    assert load_worker(f"{module}:make") is load_worker(f"{module}:worker")
    made = load_worker(f"{module}:flow", concurrency=7)
    assert (made.handlers, made.concurrency) == (("made.a",), 7)
    assert load_worker(f"{module}:worker", concurrency=9).concurrency == 9


@pytest.mark.parametrize(
    ("reference", "error", "text"),
    [
        ("module", ValueError, "MODULE:ATTR"),
        (":worker", ValueError, "MODULE:ATTR"),
        ("no_such_module_here:worker", ModuleNotFoundError, "no_such_module_here"),
        ("{module}:nothing", AttributeError, "nothing"),
        ("{module}:number", ValueError, "neither a Worker nor a Flow"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(module: str, reference: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load_worker(reference.replace("{module}", module))


@contextmanager
def started(module: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stepgres_worker", f"{module}:worker", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def lines_until(process: subprocess.Popen[str], word: str, count: int) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while sum(line.startswith(word) for line in lines) < count:
        line = process.stdout.readline()
        assert line, f"the process ended: {lines}"
        lines.append(line)
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(module: str, number: signal.Signals) -> None:
    with started(module) as process:
        lines_until(process, "hello", 1)
        process.send_signal(number)
        lines_until(process, "goodbye", 1)
        assert process.wait(20) == 0


def test_a_second_signal_does_not_wait_for_handlers(module: str) -> None:
    with started(module, TASK="1") as process:
        lines_until(process, "holding", 1)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        lines_until(process, "goodbye", 1)
        assert process.wait(20) == 0


def test_several_processes_serve_and_drain_together(module: str) -> None:
    with started(module, "--processes", "2") as process:
        hellos = lines_until(process, "hello", 2)
        assert len({line.split()[1] for line in hellos}) == 2
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: all hear it, once
        lines_until(process, "goodbye", 2)
        assert process.wait(20) == 0


def test_processes_end_with_a_parent_that_was_killed(module: str) -> None:
    with started(module, "--processes", "2") as process:
        lines_until(process, "hello", 2)
        process.kill()
        lines_until(process, "goodbye", 2)


def test_a_wrong_reference_ends_with_2(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepgres_worker", f"{module}:nothing"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing" in done.stderr


def test_flows_make_workers_of_their_own(module: str) -> None:
    assert isinstance(load_worker(f"{module}:flow"), Worker)
    assert isinstance(Flow("x"), Flow)
