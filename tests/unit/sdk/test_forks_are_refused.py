"""gRPC does not survive a fork: whoever tries is told what to do. Real processes, no server needed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(script: str) -> str:
    """Runs a script in a process of its own; its output."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PRELUDE = """
import asyncio, os, sys
from stepgres_worker import AsyncClient, Client, ForkedError, Unavailable, Worker
def child(what):
    pid = os.fork()
    if pid == 0:
        try:
            what()
        except BaseException as error:
            print(type(error).__name__, "post_fork" in str(error), flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
def use(client):
    try:
        client.get_flow("f")
    except Unavailable:
        print("reached the network", flush=True)
client = Client("127.0.0.1:9", timeout_s=2)
"""


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("lambda: use(client)", "ForkedError True"),
        *(
            pytest.param(what, "ForkedError True", marks=pytest.mark.slow)
            for what in (
                "lambda: use(Client('127.0.0.1:9', timeout_s=2))",
                "lambda: asyncio.run(AsyncClient('127.0.0.1:9').get_flow('f'))",
            )
        ),
    ],
)
def test_after_use_a_fork_is_refused(what: str, expected: str) -> None:
    lines = run(f"{PRELUDE}\nuse(client)\nchild({what})\nuse(client)").splitlines()
    assert lines == ["reached the network", expected, "reached the network"]


def test_before_use_a_fork_is_harmless() -> None:
    """As a pre-forking web server does: the client is made at import and used in the workers only."""
    lines = run(f"{PRELUDE}\nchild(lambda: use(client))\nchild(lambda: use(client))\nuse(client)").splitlines()
    assert lines == ["reached the network"] * 3
