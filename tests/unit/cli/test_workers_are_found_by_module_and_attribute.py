from __future__ import annotations

import sys

import pytest

from stepgres_cli.errors import CliError
from stepgres_cli.workers import load_worker
from stepgres_worker import Worker

MODULE = """
from stepgres_worker import Flow, Worker

one, two = Flow("one"), Flow("two")


@one.step
def a(input): ...


@two.step
def b(input): ...


class Box:
    worker = Worker(one, concurrency=7)


both = [one, two]
none = []
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_workers.py").write_text(MODULE)
    (tmp_path / "a_broken_module.py").write_text("import no_such_library_anywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("STEPGRES_TARGET", "before:1")
    yield "a_module_of_workers"
    sys.modules.pop("a_module_of_workers", None)


def test_a_worker_a_flow_and_a_list_of_flows_are_served(module):
    worker = load_worker(f"{module}:Box.worker", None, None)
    assert isinstance(worker, Worker)
    assert worker.concurrency == 7
    assert load_worker(f"{module}:one", None, None).handlers == ("one.a",)
    assert load_worker(f"{module}:both", None, None).handlers == ("one.a", "two.b")


def test_options_come_before_what_the_module_says(module):
    worker = load_worker(f"{module}:Box.worker", "there:2", 9)
    assert worker.concurrency == 9
    assert worker._transport.target == "there:2"


def test_an_empty_list_serves_nothing(module):
    with pytest.raises(CliError, match="list found; a Worker, a Flow or a list of flows is needed"):
        load_worker(f"{module}:none", None, None)


def test_a_module_that_fails_is_shown_with_its_traceback_and_not_taken_for_missing(module, capsys):
    with pytest.raises(CliError, match="its import failed with ModuleNotFoundError: No module named 'no_such_library"):
        load_worker("a_broken_module:worker", None, None)
    assert "import no_such_library_anywhere" in capsys.readouterr().err
