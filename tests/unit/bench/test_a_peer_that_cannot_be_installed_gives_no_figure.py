from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Effort, Figures
from bench.peers import environment
from bench.scenarios import peers


@pytest.fixture(autouse=True)
def _no_registry_and_nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("STEPGRES_BENCH_DIR", str(tmp_path / "bench"))
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "peers")


def test_the_scenario_says_so_and_gives_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures(peers.TARGETS)
    peers.run(Effort(quick=True), figures)
    told = capsys.readouterr().out
    for name in ("procrastinate", "dbos", "awa"):
        assert f"{name}: NOT MEASURED: its environment cannot be made" in told
    assert json.loads(figures.json({})) == {}


def test_an_environment_half_made_is_not_taken_for_one(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(environment.NotMeasured, match="its environment cannot be made"):
            environment.python_of("awa")
    assert not (tmp_path / "peers" / "awa" / "stamp").exists()
