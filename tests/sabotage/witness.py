"""A pytest plugin: proves that a run uses the code of its own tree, and writes down what failed and how.

Options: `-p tests.sabotage.witness --witness FILE`.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

#: Errors of a tree that does not work at all. A fault must run, and do the wrong thing.
_BROKEN = (SyntaxError, ImportError, NameError, AttributeError, psycopg.ProgrammingError)


def pytest_addoption(parser: pytest.Parser) -> None:
    """--witness names the file that is written at the end."""
    parser.addoption("--witness", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Refuses to run with code or migrations of another tree, such as that of the editable installs."""
    import stepgres.v1.worker_pb2
    import stepgres_service
    import stepgres_worker
    from stepgres_service.store.migrate_files import migrations_folder

    used = [Path(str(module.__file__)) for module in (stepgres.v1.worker_pb2, stepgres_service, stepgres_worker)]
    for path in (*used, migrations_folder()):
        if not path.resolve().is_relative_to(config.rootpath.resolve()):
            raise pytest.UsageError(
                f"{path} is not below {config.rootpath}; put the packages of the copy on PYTHONPATH"
            )
    config.pluginmanager.register(_Witness(config.getoption("--witness")))


class _Witness:
    """Collects what did not pass."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._passed: list[str] = []
        self._failures: list[dict[str, Any]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
        report = yield
        if call.excinfo is not None:
            report.user_properties.append(("broken", issubclass(call.excinfo.type, _BROKEN)))
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report, "collect")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._note(report, report.when or "call", broken=dict(report.user_properties).get("broken", False))
        elif report.passed and report.when == "call":
            self._passed.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            self._file.write_text(json.dumps({"passed": self._passed, "failures": self._failures}))

    def _note(self, report: pytest.TestReport | pytest.CollectReport, when: str, *, broken: bool = True) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash is not None else report.longreprtext
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        self._failures.append({"test": report.nodeid, "when": when, "broken": broken, "error": line})
