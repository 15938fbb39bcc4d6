"""The demo's pure functions, on files whose counts are known."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.acceptance.processes import REPOSITORY


@pytest.fixture(scope="module")
def analyse() -> ModuleType:
    path = REPOSITORY / "examples" / "python" / "code_report" / "analyse.py"
    spec = importlib.util.spec_from_file_location("code_report_analyse", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_listed_sorted_without_hidden_cached_and_installed_ones(analyse, tmp_path):
    for name in ("b.py", "a/c.py", ".hidden.py", ".git/x.py", "__pycache__/y.py", "site-packages/z.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert analyse.list_files(str(tmp_path)) == ["a/c.py", "b.py"]
    with pytest.raises(NotADirectoryError):
        analyse.list_files(str(tmp_path / "b.py"))


def test_a_file_is_counted(analyse, tmp_path):
    (tmp_path / "a.py").write_text(
        "import os.path, sys\nfrom . import near\nfrom json import loads\n"
        "class A:\n    def f(self): ...\n    async def g(self): ...\nprint('\\d')"
    )
    assert analyse.parse_file(str(tmp_path), "a.py") == {
        "path": "a.py", "lines": 7, "functions": 2, "classes": 1, "imports": ["json", "os", "sys"],
    }  # fmt: skip


@pytest.mark.parametrize("source", [b"print 'two'", b"\x00", b"# coding: nonsense\n", b"\xff\xfe"])
def test_a_file_that_cannot_be_parsed_is_a_fact(analyse, tmp_path, source):
    (tmp_path / "bad.py").write_bytes(source)
    facts = analyse.parse_file(str(tmp_path), "bad.py")
    assert facts["error"] in {"SyntaxError", "ValueError"}
    report = analyse.summarise([facts, analyse.parse_file(str(tmp_path), "gone.py")])
    assert report["totals"]["unparsed"] == 2
    assert report["unparsed"][1] == {"path": "gone.py", "error": "FileNotFoundError"}


def test_ties_are_ordered_by_name(analyse):
    files = [{"path": p, "lines": 3, "functions": 1, "classes": 0, "imports": ["os", "abc"]} for p in ("b.py", "a.py")]
    report = analyse.summarise(files)
    assert [row["path"] for row in report["largest_files"]] == ["a.py", "b.py"]
    assert report["most_imported"] == [{"module": "abc", "files": 2}, {"module": "os", "files": 2}]
