"""Arrays for the hot statements, packed in PostgreSQL's binary form.

A batch passes its items as a dozen arrays side by side. psycopg's own dumpers walk a list element by element in
Python, which would cost more than the rest of the coordinator; these pack a whole column at once, and texts go as the
bytes they came in, never decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.postgres import types
from psycopg.pq import Format

_HEADER = struct.Struct("!iiIii")
_NULL = b"\xff\xff\xff\xff"


def _oid(name: str, array: bool) -> int:
    info = types[name]
    return info.array_oid if array else info.oid


class _Column:
    """A column of a batch: `items` is its list."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


class UuidColumn(_Column):
    """uuid[] from 16-byte values."""

    __slots__ = ()


class SmallintColumn(_Column):
    """smallint[] from ints."""

    __slots__ = ()


class IntColumn(_Column):
    """int[] from ints."""

    __slots__ = ()


class BigintColumn(_Column):
    """bigint[] from ints or None."""

    __slots__ = ()


class BoolColumn(_Column):
    """boolean[] from bools."""

    __slots__ = ()


class TextColumn(_Column):
    """text[] from UTF-8 bytes or None."""

    __slots__ = ()


class ByteaColumn(_Column):
    """bytea[] from bytes or None."""

    __slots__ = ()


class _ColumnDumper(Dumper):
    format = Format.BINARY
    element = ""

    def __init__(self, cls: type, context: Any = None) -> None:
        super().__init__(cls, context)
        self.oid = _oid(self.element, array=True)
        self._element_oid = _oid(self.element, array=False)

    def _header(self, count: int, has_null: bool) -> bytes:
        if not count:
            return struct.pack("!iiI", 0, 0, self._element_oid)
        return _HEADER.pack(1, has_null, self._element_oid, count, 1)


class _UuidDumper(_ColumnDumper):
    element = "uuid"

    def dump(self, obj: UuidColumn) -> bytes:
        items = obj.items
        prefix = b"\x00\x00\x00\x10"
        body = prefix + prefix.join(items) if items else b""
        return self._header(len(items), False) + body


class _FixedDumper(_ColumnDumper):
    """Numbers without nulls: every element is its length and its value."""

    code = ""
    size = 0

    def dump(self, obj: _Column) -> bytes:
        items = obj.items
        count = len(items)
        pairs: list[int] = [self.size] * (2 * count)
        pairs[1::2] = items
        return self._header(count, False) + struct.pack("!" + f"i{self.code}" * count, *pairs)


class _SmallintDumper(_FixedDumper):
    element = "int2"
    code = "h"
    size = 2


class _IntDumper(_FixedDumper):
    element = "int4"
    code = "i"
    size = 4


class _BoolDumper(_FixedDumper):
    element = "bool"
    code = "?"
    size = 1


class _NullableDumper(_ColumnDumper):
    def dump(self, obj: _Column) -> bytes:
        parts = [b""]
        has_null = False
        for item in obj.items:
            if item is None:
                parts.append(_NULL)
                has_null = True
            else:
                data = self._encode(item)
                parts.append(len(data).to_bytes(4, "big"))
                parts.append(data)
        parts[0] = self._header(len(obj.items), has_null)
        return b"".join(parts)

    def _encode(self, item: Any) -> bytes:
        return item  # type: ignore[no-any-return]


class _TextDumper(_NullableDumper):
    element = "text"


class _ByteaDumper(_NullableDumper):
    element = "bytea"


class _BigintDumper(_NullableDumper):
    element = "int8"

    def _encode(self, item: int) -> bytes:
        return item.to_bytes(8, "big", signed=True)


def register_columns(conn: AsyncConnection[Any]) -> None:
    """Teaches a connection to send the columns of this module."""
    adapters = conn.adapters
    adapters.register_dumper(UuidColumn, _UuidDumper)
    adapters.register_dumper(SmallintColumn, _SmallintDumper)
    adapters.register_dumper(IntColumn, _IntDumper)
    adapters.register_dumper(BigintColumn, _BigintDumper)
    adapters.register_dumper(BoolColumn, _BoolDumper)
    adapters.register_dumper(TextColumn, _TextDumper)
    adapters.register_dumper(ByteaColumn, _ByteaDumper)
