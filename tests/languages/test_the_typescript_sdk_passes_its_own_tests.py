from __future__ import annotations

import re

import pytest

from tests.languages.typescript import SDK, build, need_node, run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_tests_pass():
    need_node()
    build()
    found = sorted(str(path.relative_to(SDK)) for path in (SDK / "dist" / "test").glob("*.test.js"))
    sources = sorted(path.stem for path in (SDK / "test").glob("*.test.ts"))
    assert sources == [name.removeprefix("dist/test/").removesuffix(".js") for name in found], "dist holds old files"
    answer = run("node", "--test", "--test-reporter=tap", *found, cwd=SDK, timeout_s=200)
    assert "# fail 0" in answer
    assert int(re.findall(r"^# pass (\d+)$", answer, re.MULTILINE)[0]) > 40
    assert "# skipped 0" in answer
