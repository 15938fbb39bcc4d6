"""What was probably meant by a value of the wrong type, or by a key that is unknown, where the meaning stays the same."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

STRUCT = "google.protobuf.Struct"


class Absent:
    """Stands for a value that nothing can be made of."""


ABSENT: Final = Absent()

#: Words that others use for the keys of plans.
_SYNONYMS = {
    "slug": ("name", "id", "step_id", "key"),
    "depends_on": ("dependencies", "depends", "deps", "needs", "requires", "after"),
    "step_type": ("type", "kind"),
    "steps": ("tasks", "nodes"),
    "handler": ("function", "tool", "action"),
    "params": ("parameters", "arguments", "args", "constants", "config"),
}
_MEANT = {synonym: name for name, synonyms in _SYNONYMS.items() for synonym in synonyms}
#: Keys that only speak to people: nothing of what the plan does goes with them.
_REMARKS = frozenset({
    "comment", "comments", "description", "explanation", "note", "notes", "rationale", "reason", "reasoning", "summary",
    "thought", "thoughts", "title", "$schema", "$comment",
})  # fmt: skip
#: How alike a key must be to a known one to be renamed without asking: `slag` is slug, `min_delay_s` not max_delay_s.
_SURE, _SURE_IF_SHORT, _SHORT = 0.85, 0.75, 5
_OTHER_UNIT = re.compile(r"_(ms|millis|milliseconds|us|ns|m|min|mins|minutes|h|hours|d|days)\Z")
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?) ?([a-z]*)\Z")
_SECONDS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip


def is_remark(name: str) -> bool:
    """Whether a key only speaks to people."""
    return name.lower().lstrip("_") in _REMARKS or name.startswith("_")


def meant_field(name: str, message: Descriptor, taken: Collection[str]) -> FieldDescriptor | None:
    """The field that a key surely means and that is not given otherwise; None when that is for the author to say.

    Args:
        name: a key that is unknown.
        message: which fields there are.
        taken: names of the fields that are given.
    """
    known = {field: message.fields_by_name[field] for field in message.fields_by_name if field not in taken}
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").replace(" ", "_").strip("_")
    plain = re.sub(r"_(sec|secs|seconds)\Z", "_s", plain)
    if plain in known:
        return known[plain]
    if plain in _MEANT:
        return known.get(_MEANT[plain])
    if _OTHER_UNIT.search(plain):  # 5000 ms are no 5000 s
        return None
    cutoff = _SURE_IF_SHORT if len(plain) <= _SHORT else _SURE
    close = difflib.get_close_matches(plain, known, n=1, cutoff=cutoff)
    return known[close[0]] if close else None


def shaped(value: Any, field: FieldDescriptor) -> Any:
    """The value when a field takes it, else another that means the same and is taken, else ABSENT."""
    if field.is_repeated:
        return _list_of(value, field)
    return shaped_item(value, field)


def shaped_item(value: Any, field: FieldDescriptor) -> Any:
    """As `shaped`, for one element of a repeated field."""
    if not needed(value, field):
        return value
    if field.message_type is not None:
        return _object_of(value, field.message_type)
    if field.enum_type is not None:
        return _enum_of(value, field.enum_type)
    if field.type == field.TYPE_STRING:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ABSENT
    if field.type == field.TYPE_BOOL:
        word = value.strip().lower() if isinstance(value, str) else ""
        return word == "true" if word in ("true", "false") else ABSENT
    return _number_of(value, field.name)


def _list_of(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value
    message = field.message_type
    if message is None:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else ABSENT
    if not isinstance(value, Mapping):
        return ABSENT
    if any(name in message.fields_by_name for name in value):
        return [dict(value)]
    if all(isinstance(name, str) and isinstance(item, Mapping | None) for name, item in value.items()):
        return [{"slug": name, **(item or {})} for name, item in value.items()]
    return ABSENT


def _object_of(value: Any, message: Descriptor) -> Any:
    if not isinstance(value, str):
        return ABSENT
    if message.full_name != STRUCT:
        # A step that is nothing but its name.
        return {"slug": value} if "slug" in message.fields_by_name and value.isidentifier() else ABSENT
    try:
        held = json.loads(value)
    except ValueError:
        return ABSENT
    return held if isinstance(held, dict) else ABSENT


def _enum_of(value: Any, enum: EnumDescriptor) -> Any:
    word = value.strip().lower() if isinstance(value, str) else ""
    names = [name for name, known in enum.values_by_name.items() if known.number]
    return next(
        (name for name in names if word and (name.lower() == word or name.lower().endswith(f"_{word}"))), ABSENT
    )


def _number_of(value: Any, name: str) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        return max(-(2**31), min(2**31 - 1, int(value)))  # out of every range still, and the coordinator tells of which
    found = _NUMBER.match(value.strip().lower()) if isinstance(value, str) else None
    if found is None or (found[2] and not (name.endswith("_s") and found[2] in _SECONDS)):
        return ABSENT
    number = float(found[1]) * _SECONDS.get(found[2], 1)
    return int(number) if number.is_integer() and is_int32(number) else ABSENT


def needed(value: Any, field: FieldDescriptor) -> str:
    """What a field needs instead of a value; empty: the value will do."""
    if field.message_type is not None:
        return "" if isinstance(value, Mapping) else "an object"
    if field.enum_type is not None:
        names = [name for name, known in field.enum_type.values_by_name.items() if known.number]  # 0 = not given
        return "" if _is_of(value, field.enum_type) else f"one of {', '.join(names)}"
    if field.type == field.TYPE_STRING:
        if not isinstance(value, str):
            return "a text"
        return "" if is_unicode(value) else "a text without halves of surrogate pairs"
    if field.type == field.TYPE_BOOL:
        return "" if isinstance(value, bool) else "true or false"
    return "" if is_int32(value) else "a whole number (of 32 bits)"


def is_unicode(value: str) -> bool:
    """Whether UTF-8 can hold it: half a surrogate pair it cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_of(value: Any, enum: EnumDescriptor) -> bool:
    return value in enum.values_by_name if isinstance(value, str) else type(value) is int


def is_int32(value: Any) -> bool:
    """Whether it is a whole number of 32 bits, or a text that is nothing but one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return False
    return -(2**31) <= number < 2**31 and (isinstance(value, str) or number == value)
