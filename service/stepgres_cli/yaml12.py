"""YAML as flow files mean it: the core schema of YAML 1.2, in which JSON is YAML, and no key twice.

PyYAML reads YAML 1.1, where `no` is false, 010 is 8, 12:30 is 750 and 2026-11-24 is no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml


class DuplicateKey(ValueError):
    """A key stands twice in one object: one of the values would be lost without a word."""


def unique_pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as an object.

    Raises:
        DuplicateKey: two have the same key.
    """
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKey(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  as PyYAML has it


def load_yaml(text: str) -> Any:
    """The one document in a text.

    Raises:
        yaml.YAMLError: it is no YAML.
        DuplicateKey: an object has a key twice.
    """
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    try:
        unique_pairs((loader.construct_object(key, deep=True), None) for key in own)
        loader.flatten_mapping(node)  # what is merged comes first, and own keys replace it
        return {
            loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
            for key, value in node.value
        }
    except TypeError as error:
        raise yaml.constructor.ConstructorError(
            None, None, f"a key is no plain value: {error}", node.start_mark
        ) from None


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


# https://yaml.org/spec/1.2.2/#1032-tag-resolution
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
