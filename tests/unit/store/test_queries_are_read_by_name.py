"""The loader of store/*.sql, and that every file keeps its form."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepgres_service.store import queries
from stepgres_service.store.queries import load_queries

NOUNS = sorted(
    path.name.removesuffix(".sql")
    for path in resources.files("stepgres_service.store").iterdir()
    if path.name.endswith(".sql")
)


@pytest.fixture
def folder(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(queries, "resources", SimpleNamespace(files=lambda _: tmp_path))
    return tmp_path


def test_each_query_is_found_by_its_name(folder: Path):
    (folder / "noun.sql").write_text(
        "-- one --\n-- Purpose.\nselect 1\n\n-- two_more --\n-- Purpose.\nselect %s,\n  2\n"
    )

    assert load_queries("noun") == {
        "one": b"-- Purpose.\nselect 1",
        "two_more": b"-- Purpose.\nselect %s,\n  2",
    }


def test_text_before_the_first_name_is_refused(folder: Path):
    (folder / "noun.sql").write_text("select 1\n-- one --\n-- Purpose.\nselect 1\n")

    with pytest.raises(ValueError, match=r"noun\.sql: text before the first"):
        load_queries("noun")


@pytest.mark.parametrize("noun", NOUNS)
def test_every_query_of_ours_says_its_purpose(noun: str):
    for name, query in load_queries(noun).items():
        assert re.match(rb"(?:-- \S.*\n)+\s*[^-\s]", query), f"{noun}.sql: {name} has no purpose line, or no query"


@pytest.mark.parametrize("noun", NOUNS)
def test_no_name_is_used_twice(noun: str):
    text = resources.files("stepgres_service.store").joinpath(f"{noun}.sql").read_text("utf-8")
    names = re.findall(r"^-- ([a-z0-9_]+) --$", text, re.MULTILINE)

    assert len(names) == len(set(names)) == len(load_queries(noun))
