"""What is wrong with a document that should be a message of the contract: everything at once, by path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ._hints import did_you_mean

_STRUCT = "google.protobuf.Struct"
#: Characters of a value that a message shows.
_MAX_SHOWN = 100


def faults_of(document: Any, message: Descriptor, path: str = "") -> Iterator[str]:
    """Yields a line for each field that is unknown or of the wrong type: path, value, what is wrong, what to do.

    Args:
        document: what should be an object with the message's fields; null stands for "not given".
        message: which fields there are, by their original names.
        path: where the document stands, such as `steps[2]`; empty for the whole.
    """
    if not isinstance(document, Mapping):
        yield f"{path or 'the plan'}: is {_shown(document)}; an object is needed"
        return
    known = message.fields_by_name
    json_names = {field.json_name: field for field in message.fields}
    for name, value in document.items():
        here = f"{path}.{name}" if path else str(name)
        field = known.get(name) or json_names.get(name)
        if field is None:
            remedy = did_you_mean(name, known) or f"; the fields are {', '.join(known)}"
            yield f"{here}: is unknown{remedy}"
        elif value is not None:
            yield from _faults_of_field(value, field, here)


def _faults_of_field(value: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    if not field.is_repeated:
        yield from _faults_of_value(value, field, path)
    elif isinstance(value, str) or not isinstance(value, Sequence):
        yield f"{path}: is {_shown(value)}; a list is needed"
    else:
        for index, item in enumerate(value):
            yield from _faults_of_value(item, field, f"{path}[{index}]")


def _faults_of_value(value: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    if field.message_type is not None and field.message_type.full_name != _STRUCT:
        yield from faults_of(value, field.message_type, path)
    elif needed := _needed(value, field):
        yield f"{path}: is {_shown(value)}; {needed} is needed"
    elif field.message_type is not None:
        yield from _faults_of_json(value, path)


def _faults_of_json(value: Any, path: str) -> Iterator[str]:
    """What JSON cannot hold, anywhere inside of a value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                yield f"{path}: has the key {_shown(name)}; keys of JSON are texts, quote it"
            yield from _faults_of_json(item, f"{path}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _faults_of_json(item, f"{path}[{index}]")
    elif value is not None and not isinstance(value, str | bool | int | float):
        yield f"{path}: is {_shown(value)}, which JSON has not; a text is needed, or another JSON value"


def _needed(value: Any, field: FieldDescriptor) -> str:
    """What a field needs instead of a value; empty: the value will do."""
    if field.message_type is not None:
        return "" if isinstance(value, Mapping) else "an object"
    if field.enum_type is not None:
        return "" if _is_of(value, field.enum_type) else f"one of {', '.join(field.enum_type.values_by_name)}"
    if field.type == field.TYPE_STRING:
        return "" if isinstance(value, str) else "a text"
    if field.type == field.TYPE_BOOL:
        return "" if isinstance(value, bool) else "true or false"
    return "" if _is_int32(value) else "a whole number, from -2147483648 to 2147483647,"


def _is_of(value: Any, enum: EnumDescriptor) -> bool:
    return value in enum.values_by_name if isinstance(value, str) else type(value) is int


def _is_int32(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return False
    return -(2**31) <= number < 2**31 and (isinstance(value, str) or number == value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
