"""A way to run one command line inside the test process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from stepgres_cli.main import run
from tests.unit.cli.coordinator import FakeCoordinator, fake_coordinator


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class _Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


@pytest.fixture
def stepgres(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Runs `stepgres …` and gives exit code, standard output and standard error."""
    monkeypatch.delenv("STEPGRES_TARGET", raising=False)
    monkeypatch.delenv("STEPGRES_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*args: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", _Stdin(stdin))
        code = run(args)
        out, err = capsys.readouterr()
        return Answer(int(code), out, err)

    return call


@pytest.fixture
def coordinator(stepgres: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCoordinator]:
    """A fake coordinator that STEPGRES_TARGET names."""
    with fake_coordinator() as fake:
        monkeypatch.setenv("STEPGRES_TARGET", fake.target)
        yield fake
