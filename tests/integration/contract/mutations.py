"""Bad values for every field of a request, made from its descriptor alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
#: Stands in a text for bytes that no client could put there; swapped when the request is serialised.
_MARK = "QqQqQqQq"
_NOT_UTF8 = b"\xff\xfe\x80\xc0QqQq"
#: A field that no message has: number 1999, length-delimited, one byte.
_UNKNOWN_FIELD = bytes([0xFA, 0x7C, 0x01, 0x2A])

Parent = Callable[[Message], Any]


@dataclass(frozen=True)
class Case:
    """One request that differs from a valid one in one thing."""

    #: Path of the field in the request; empty for the request itself.
    path: str
    #: Name of the field as `Message.field`, of an element `Message.field[]`, of a message its own name.
    field: str
    #: What is done to it.
    mutation: str
    #: Makes it of a valid request, and answers the bytes to send.
    body: Callable[[Message], bytes]

    def __str__(self) -> str:
        return f"{self.path or 'request'}: {self.mutation}"


def cases_of(valid: Message, values: Callable[[str], dict[str, Any]]) -> Iterator[Case]:
    """Every case for a request.

    Args:
        valid: has every field set that is to be visited; of a repeated one the first element is.
        values: further values of a field by the name of the mutation; a list replaces a repeated field.
    """
    yield from _of_message(type(valid).DESCRIPTOR.name, "", valid, lambda request: request, values)
    yield Case("", "body", "garbage", lambda _: b"\xff\xff\xff\xff")
    yield Case("", "body", "cut in the middle", lambda request: request.SerializeToString() + b"\x0a\x7f")
    yield Case("", "body", "a text", lambda _: b"not a message of protobuf")


def _of_message(
    name: str, path: str, message: Message, parent: Parent, values: Callable[[str], dict[str, Any]]
) -> Iterator[Case]:
    yield _case(path, name, "unknown field", lambda request: parent(request).MergeFromString(_UNKNOWN_FIELD))
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1 and not message.HasField(field.name):
            continue  # Another base has this one.
        at = f"{path}.{field.name}" if path else field.name
        full = f"{message.DESCRIPTOR.name}.{field.name}"
        yield from _of_presence(at, full, field, parent)
        put = _replacing(parent, field)
        for mutation, value in values(full).items():
            yield _case(at, full, mutation, put, value)
        if field.is_repeated:
            first = getattr(message, field.name)[0]
            element, at = _element(parent, field), f"{at}[0]"
            if field.type == field.TYPE_MESSAGE:
                yield from _of_message(f"{full}[]", at, first, element, values)
            else:
                yield from _of_value(at, f"{full}[]", field, _replacing_first(parent, field))
                for mutation, value in values(f"{full}[]").items():
                    yield _case(at, f"{full}[]", mutation, _replacing_first(parent, field), value)
        elif field.type == field.TYPE_MESSAGE:
            yield from _of_submessage(at, full, field, message, parent, values)
        else:
            yield from _of_value(at, full, field, put)


def _of_submessage(
    at: str,
    full: str,
    field: FieldDescriptor,
    message: Message,
    parent: Parent,
    values: Callable[[str], dict[str, Any]],
) -> Iterator[Case]:
    def inner(request: Message) -> Any:
        return getattr(parent(request), field.name)

    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            for mutation, (seconds, nanos) in _TIMES.items():
                yield _case(at, full, mutation, _time_setter(inner), (seconds, nanos))
        case "google.protobuf.Struct":
            for mutation, change in _STRUCTS.items():
                yield _case(at, full, mutation, _calling(change, inner))
        case _:
            yield from _of_message(full, at, getattr(message, field.name), inner, values)


def _of_presence(at: str, full: str, field: FieldDescriptor, parent: Parent) -> Iterator[Case]:
    """What holds for a field of any type."""

    def missing(request: Message) -> None:
        parent(request).ClearField(field.name)

    def other_wire_type(request: Message) -> None:
        missing(request)
        # 8 bytes of a fixed64, which no field of ours is: protobuf takes it for a field it does not know.
        parent(request).MergeFromString(_varint(field.number << 3 | 1) + b"\x01" * 8)

    def empty(request: Message) -> None:
        missing(request)
        getattr(parent(request), field.name).SetInParent()

    yield _case(at, full, "missing", missing)
    yield _case(at, full, "wrong wire type", other_wire_type)
    if field.type == field.TYPE_MESSAGE and not field.is_repeated:
        yield _case(at, full, "empty", empty)


def _of_value(at: str, full: str, field: FieldDescriptor, put: Callable[[Message, Any], None]) -> Iterator[Case]:
    """What holds for one value of a type."""
    values: dict[str, Any]
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            values = {f"{length} characters": "x" * length for length in (129, 300, 9000)}
            values |= {"empty": "", "U+0000": "a\0b", "not UTF-8": _MARK, "not ASCII": "é\u202e😀"}
        case FieldDescriptor.TYPE_BYTES:
            values = {"empty": b"", "random": bytes(range(128, 168)), "9000 bytes": b"[" * 9000}
        case FieldDescriptor.TYPE_INT32:
            values = {"0": 0, "-1": -1, "least": INT32_MIN, "greatest": INT32_MAX}
        case FieldDescriptor.TYPE_INT64:
            values = {"0": 0, "-1": -1, "least": -(1 << 63), "greatest": (1 << 63) - 1}
        case FieldDescriptor.TYPE_FLOAT:
            values = {"0": 0.0, "-1": -1.0, "2": 2.0, "NaN": math.nan, "infinity": math.inf}
        case FieldDescriptor.TYPE_BOOL:
            values = {"false": False, "true": True}
        case FieldDescriptor.TYPE_ENUM:
            values = {value.name: value.number for value in field.enum_type.values}
            values |= {"99": 99, "negative": -1}
        case _:
            raise AssertionError(f"{full}: no mutations for its type; add them here")
    for mutation, value in values.items():
        yield _case(at, full, mutation, put, value)


def _case(at: str, full: str, mutation: str, change: Callable[..., None], *arguments: Any) -> Case:
    def body(request: Message) -> bytes:
        change(request, *arguments)
        return request.SerializeToString().replace(_MARK.encode(), _NOT_UTF8)

    return Case(at, full, mutation, body)


def _replacing(parent: Parent, field: FieldDescriptor) -> Callable[[Message, Any], None]:
    def put(request: Message, value: Any) -> None:
        message = parent(request)
        if field.is_repeated:
            message.ClearField(field.name)
            getattr(message, field.name).extend(value)
        else:
            setattr(message, field.name, value)

    return put


def _replacing_first(parent: Parent, field: FieldDescriptor) -> Callable[[Message, Any], None]:
    def put(request: Message, value: Any) -> None:
        getattr(parent(request), field.name)[0] = value

    return put


def _element(parent: Parent, field: FieldDescriptor) -> Parent:
    return lambda request: getattr(parent(request), field.name)[0]


def _time_setter(inner: Parent) -> Callable[[Message, tuple[int, int]], None]:
    def put(request: Message, value: tuple[int, int]) -> None:
        inner(request).seconds, inner(request).nanos = value

    return put


def _calling(change: Callable[[Any], None], inner: Parent) -> Callable[[Message], None]:
    return lambda request: change(inner(request))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


_TIMES = {
    "year 1": (-62135596800, 0),
    "year 9999": (253402300799, 999_999_999),
    "before year 1": (-62135596801, 0),
    "year 10000": (253402300800, 0),
    "least seconds": (-(1 << 63), 0),
    "greatest seconds": ((1 << 63) - 1, 0),
    "negative nanos": (0, -1),
    "a second of nanos": (0, 1_000_000_000),
    "greatest nanos": (0, INT32_MAX),
}


def _nested(depth: int) -> Callable[[Any], None]:
    def change(struct: Any) -> None:
        for _ in range(depth):
            struct = struct.fields["a"].struct_value
        struct.fields["end"].bool_value = True

    return change


_STRUCTS: dict[str, Callable[[Any], None]] = {
    "NaN": lambda struct: struct.update({"a": math.nan}),
    "infinity": lambda struct: struct.update({"a": math.inf}),
    "negative infinity in a list": lambda struct: struct.update({"a": [-math.inf]}),
    "a value of no kind": lambda struct: struct.fields["a"].SetInParent(),
    "U+0000 in a value": lambda struct: struct.update({"a": "\0"}),
    "U+0000 in a key": lambda struct: struct.update({"\0": 1}),
    "not UTF-8 in a value": lambda struct: struct.update({"a": _MARK}),
    "not UTF-8 in a key": lambda struct: struct.update({_MARK: 1}),
    "more than 64 KiB": lambda struct: struct.update({"a": "x" * (64 << 10)}),
    "nested 20 levels": _nested(20),
    "nested 60 levels": _nested(60),
    "greatest double": lambda struct: struct.update({"a": 1.7e308}),
    "an empty key": lambda struct: struct.update({"": None}),
}
