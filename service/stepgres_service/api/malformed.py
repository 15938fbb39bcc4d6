"""Bodies that are no message. gRPC would call them INTERNAL, a fault of ours; here they are told by field path."""

from __future__ import annotations

from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from stepgres_service.errors import InvalidArgument, Reason, Violation

#: Larger bodies are refused without a look for the field: the look makes an object of each field, here 0.1 s of them.
_MAX_EXAMINED_BYTES = 256 << 10
#: Depth at which protobuf itself gives up.
_MAX_DEPTH = 100
_LENGTH_DELIMITED = 2

_M = TypeVar("_M", bound=Message)


def read_message(kind: type[_M], data: bytes) -> _M | InvalidArgument:
    """The message that a body holds, or what is wrong with the body.

    Args:
        kind: class of the message.
        data: as it came.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        found = None
        if len(data) <= _MAX_EXAMINED_BYTES:
            found = _fault(data, cast(Descriptor, kind.DESCRIPTOR), "", 0)
        return InvalidArgument(found or _unreadable("", kind.DESCRIPTOR.full_name))


def _fault(data: bytes, descriptor: Descriptor, path: str, depth: int) -> Violation | None:
    """The first text that is not UTF-8, or the innermost message that cannot be read."""
    if depth >= _MAX_DEPTH:
        return Violation(path, Reason.FIELD_INVALID, f"is nested {_MAX_DEPTH} levels deep; make it flatter")
    try:
        # To a message without fields all are unknown: that way they are read without their types.
        fields = UnknownFieldSet(Empty.FromString(data))
    except DecodeError:
        return _unreadable(path, descriptor.full_name)
    seen: dict[int, int] = {}
    for position in range(len(fields)):
        field = fields[position]
        known = descriptor.fields_by_number.get(field.field_number)
        if known is None or field.wire_type != _LENGTH_DELIMITED:
            continue
        index = seen[known.number] = seen.get(known.number, -1) + 1
        fault = _field_fault(field.data, known, _path(path, known, index), depth)
        if fault is not None:
            return fault
    return None


def _field_fault(data: bytes, field: FieldDescriptor, path: str, depth: int) -> Violation | None:
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
        return _fault(data, field.message_type, path, depth + 1)
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return Violation(
                path,
                Reason.INVALID_UTF8,
                f"is not UTF-8 ({error.reason} at byte {error.start}); send text encoded as UTF-8",
            )
    return None


def _path(path: str, field: FieldDescriptor, index: int) -> str:
    if field.containing_type is not None and field.containing_type.full_name.startswith("google.protobuf."):
        return path  # A Struct is one JSON object to its author, not the messages it is made of.
    name = f"{path}.{field.name}" if path else field.name
    return f"{name}[{index}]" if field.is_repeated else name


def _unreadable(path: str, name: str) -> Violation:
    return Violation(path, Reason.FIELD_INVALID, f"cannot be read as {name}; send that message as protobuf writes it")
