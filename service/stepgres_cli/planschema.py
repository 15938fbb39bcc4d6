"""The JSON Schema of flow files, generated from the contract, in the variants that editors and models want."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def plan_schema(*, inline: bool = False, strict: bool = False) -> dict[str, Any]:
    """The schema as a document.

    Args:
        inline: of a plan inside StartRun, which has no slug and no versions.
        strict: every field is required and optional ones may be null, as structured outputs of language models ask;
            keywords that those do not know are left out.
    """
    schema: dict[str, Any] = json.loads((files("stepgres.v1") / "plan.schema.json").read_text(encoding="utf-8"))
    if inline:
        for name in ("slug", "new_version"):
            del schema["properties"][name]
        schema["required"] = ["steps"]
        schema["title"] = "stepgres plan"
        schema["description"] = "A flow to run at once: steps that refer to handlers of the catalogue."
    return _strict(schema) if strict else schema


#: Keywords that structured outputs do not take everywhere; the coordinator checks what they say anyway.
_DROPPED = {"not", "uniqueItems", "maxItems", "$schema", "title"}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "items" in kept:
        kept["items"] = _strict(kept["items"])
    if "properties" in kept:
        needed = set(kept.get("required", ()))
        kept["properties"] = {
            name: _strict(value) if name in needed else _nullable(_strict(value))
            for name, value in kept["properties"].items()
        }
        kept["required"] = list(kept["properties"])
    return kept


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in nullable:
        nullable["enum"] = [*nullable["enum"], None]
    return nullable
