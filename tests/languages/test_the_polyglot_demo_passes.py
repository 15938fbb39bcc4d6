from __future__ import annotations

import shutil
import signal
import sys
import time

import pytest

from tests.acceptance.processes import REPOSITORY, Running
from tests.languages.typescript import need_node

EXAMPLE = REPOSITORY / "examples" / "python" / "polyglot"
DEMO = str(EXAMPLE / "polyglot.py")
DOCS = str(REPOSITORY / "docs")


def need_all() -> None:
    need_node()
    if shutil.which("go") is None:
        pytest.skip("no go on the PATH")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_languages_do_what_python_does_alone():
    need_all()
    with Running(sys.executable, DEMO, DOCS) as running:
        assert running.process.wait(380) == 0, running.output()
        for line in ("equal to the same computed by Python alone", "demo passed"):
            assert line in running.output()
        for step, language in {"list": "python", "count": "go", "score": "typescript", "report": "python"}.items():
            assert any(line.split()[:2] == [step, language] for line in running.output().splitlines())
    assert not (REPOSITORY / ".stepgres" / f"demo-{running.process.pid}").exists()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_demo_leaves_no_process():
    need_all()
    with Running(sys.executable, DEMO, DOCS) as running:
        while "list  started" not in running.output():  # the first time it builds the workers, which may take minutes
            assert running.process.poll() is None, running.output()
            time.sleep(0.1)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    shutil.rmtree(REPOSITORY / ".stepgres" / f"demo-{running.process.pid}", ignore_errors=True)


def test_without_toolchains_it_says_what_to_install():
    with Running(sys.executable, DEMO, DOCS, PATH="/nonexistent") as running:
        assert running.process.wait(60) == 2, running.output()
        said = " ".join(running.output().split())
    for name in ("go", "node", "npm"):
        assert f"{name} is not on the PATH; install it, such as by `apt-get install" in said


def test_a_folder_without_texts_is_an_error(tmp_path):
    need_all()
    with Running(sys.executable, DEMO, str(tmp_path)) as running:
        assert running.process.wait(60) == 1, running.output()
        assert "no texts there" in " ".join(running.output().split())


@pytest.mark.parametrize(
    ("text", "lines", "words", "letters", "longest"),
    [
        ("", 0, 0, 0, ""),
        ("\n", 1, 0, 1, ""),
        ("one\ntwo", 2, 2, 7, "one"),
        ("ä\u00a0öü x\r\nlonger é\n", 2, 5, 17, "longer"),
        ("日本 abc 語語語", 1, 3, 10, "abc"),
        ("a\x1cb", 1, 1, 3, "a\x1cb"),
    ],
)
def test_the_plain_computation_counts_as_go_does(monkeypatch, text, lines, words, letters, longest):
    """The same texts as in examples/go/polyglot/main_test.go."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import words as plain

    found = plain.count({"path": "p", "text": text})
    assert found == {"path": "p", "lines": lines, "words": words, "letters": letters, "longest": longest}
