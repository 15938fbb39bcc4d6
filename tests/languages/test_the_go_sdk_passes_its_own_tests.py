"""The Go SDK's own tests, with the race detector where a C compiler is, and those of its examples."""

from __future__ import annotations

import shutil

import pytest

from tests.acceptance.processes import REPOSITORY
from tests.languages.golang import SDK, go, need_go


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sdk_against_a_coordinator_in_memory():
    need_go()
    race = ["-race"] if shutil.which("cc") else []
    assert "ok" in go("test", "-count=1", *race, "./...", cwd=SDK)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "module", sorted((REPOSITORY / "examples" / "go").glob("*/go.mod")), ids=lambda p: p.parent.name
)
def test_the_examples(module):
    need_go()
    go("vet", "./...", cwd=module.parent)
    assert "ok" in go("test", "-count=1", "./...", cwd=module.parent)
