from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from stepgres_cli.yaml12 import DuplicateKey, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-24", "2026-11-24"),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("null", None),
        ("'010'", "010"),
        ("=", "="),
        ("{a: [1, {b: }]}", {"a": [1, {"b": None}]}),
        ("a: &x {k: 1}\nb: {<<: *x, l: 2}", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
        ("a: &x {k: 1}\nb: {<<: *x, k: 2}", {"a": {"k": 1}, "b": {"k": 2}}),
    ],
)
def test_a_value_means_what_the_core_schema_says(text: str, value: Any) -> None:
    found = load_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["a: 1\na: 2", "{x: {a: 1, b: 2, a: 1}}"])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(DuplicateKey, match="the key 'a' is given twice"):
        load_yaml(text)


@pytest.mark.parametrize("text", ["? [1]\n: 2", "!!python/object:os.system {}", "a: [", "a: 1\n---\nb: 2"])
def test_what_no_flow_file_needs_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)
