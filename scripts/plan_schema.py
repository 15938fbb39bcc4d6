"""Writes the JSON Schema of the plan form: CreateFlowRequest as JSON with its original field names.

Types, names and descriptions come from the contract and its comments, ranges and patterns from the rules that the
coordinator checks. Usage: plan_schema.py DESCRIPTOR_SET, made with --include_source_info.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from stepgres_service.engine import checks

Field = descriptor_pb2.FieldDescriptorProto

_ROOT = "CreateFlowRequest"
_WHOLE_SLUG = f"^{checks.SLUG_PATTERN}$"
_WHOLE_HANDLER = f"^{checks.HANDLER_PATTERN}$"
_INTEGERS = {Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32}
_SLUG = {"type": "string", "pattern": _WHOLE_SLUG, "not": {"const": "run"}}
#: (message, field) -> what the types cannot say.
_RULES: dict[tuple[str, str], dict[str, Any]] = {
    (_ROOT, "slug"): _SLUG,
    (_ROOT, "queue"): _SLUG,
    (_ROOT, "steps"): {"maxItems": 2000},
    ("StepDefinition", "slug"): _SLUG,
    ("StepDefinition", "queue"): _SLUG,
    ("StepDefinition", "handler"): {"pattern": _WHOLE_HANDLER},
    ("StepDefinition", "depends_on"): {"maxItems": 2000, "uniqueItems": True},
    ("StepDefinition", "initial_tasks"): {"minimum": 0},
    **{
        (message, name): {"minimum": lowest, "maximum": highest}
        for message in (_ROOT, "StepDefinition")
        for name, (lowest, highest) in checks.RANGES.items()
    },
}


class _Schemas:
    """The messages and enums of the contract as schemas."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self._messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        #: (file's package + message, field) or message -> its comment.
        self._comments: dict[str, str] = {}
        for file in files.file:
            if file.package != "stepgres.v1":
                continue
            for number, message in enumerate(file.message_type):
                self._messages[message.name] = message
                self._note(file, (4, number), message.name)
                for position, field in enumerate(message.field):
                    self._note(file, (4, number, 2, position), f"{message.name}.{field.name}")
            for enum in file.enum_type:
                self._enums[enum.name] = enum

    def _note(self, file: descriptor_pb2.FileDescriptorProto, path: tuple[int, ...], name: str) -> None:
        for location in file.source_code_info.location:
            if tuple(location.path) == path:
                self._comments[name] = " ".join(location.leading_comments.split())

    def of(self, name: str) -> dict[str, Any]:
        """A message as an object that allows no other fields."""
        message = self._messages[name]
        required = [f.name for f in message.field if self._comments[f"{name}.{f.name}"].startswith("Required.")]
        return {
            "type": "object",
            "description": self._comments[name],
            "properties": {field.name: self._field(name, field) for field in message.field},
            "required": required,
            "additionalProperties": False,
        }

    def _field(self, message: str, field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
        rules = _RULES.get((message, field.name), {})
        schema = self._type(field)
        if field.label == Field.LABEL_REPEATED:
            # The items of a list of names are names.
            items = schema | ({"pattern": _WHOLE_SLUG} if schema["type"] == "string" else {})
            schema = {"type": "array", "items": items}
        return {**schema, "description": self._comments[f"{message}.{field.name}"], **rules}

    def _type(self, field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
        name = field.type_name.rpartition(".")[2]
        if field.type == Field.TYPE_STRING:
            return {"type": "string"}
        if field.type == Field.TYPE_BOOL:
            return {"type": "boolean"}
        if field.type in _INTEGERS:
            return {"type": "integer"}
        if field.type == Field.TYPE_ENUM:
            # The number 0 stands for "not given": leave the field out instead.
            return {"type": "string", "enum": [value.name for value in self._enums[name].value if value.number]}
        if field.type_name == ".google.protobuf.Struct":
            return {"type": "object"}
        if field.type == Field.TYPE_MESSAGE:
            return self.of(name)
        raise ValueError(f"{field.name}: a type that the plan form does not have yet")


def main() -> None:
    """Prints the schema."""
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "stepgres flow",
        **_Schemas(files).of(_ROOT),
    }
    print(json.dumps(schema, ensure_ascii=False, indent=2))


main()
