"""The packed arrays of the hot statements, against the server's own reading of them."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

import psycopg
import pytest

from stepgres_service.store.arrays import (
    BigintColumn,
    BoolColumn,
    IntColumn,
    SmallintColumn,
    TextColumn,
    UuidColumn,
    register_columns,
)

_UUIDS = [os.urandom(16) for _ in range(300)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (UuidColumn(_UUIDS), [UUID(bytes=value) for value in _UUIDS]),
        (SmallintColumn([-32768, 0, 32767]), [-32768, 0, 32767]),
        (IntColumn(range(-500, 500)), list(range(-500, 500))),
        (BigintColumn([None, -(2**63), 2**63 - 1]), [None, -(2**63), 2**63 - 1]),
        (BoolColumn([True, False]), [True, False]),
        (TextColumn([b"", None, 'é\n"{}\\'.encode(), b"x" * 100_000]), ["", None, 'é\n"{}\\', "x" * 100_000]),
        (TextColumn([]), []),
        (UuidColumn([]), []),
        (IntColumn([]), []),
    ],
)
async def test_a_column_arrives(conn: psycopg.AsyncConnection[Any], column: Any, expected: list[Any]) -> None:
    register_columns(conn)
    row = await (await conn.execute("select %s", (column,))).fetchone()
    assert row == (expected,)
