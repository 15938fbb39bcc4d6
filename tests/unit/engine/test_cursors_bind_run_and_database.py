"""A cursor goes on with the very watch it came from, and nothing else."""

from __future__ import annotations

from uuid import uuid4

import pytest

from stepgres_service.engine.cursors import decode_cursor, encode_cursor
from stepgres_service.errors import InvalidArgument, Reason

RUN = uuid4()


def test_a_cursor_brings_its_revision_back() -> None:
    assert decode_cursor(encode_cursor(RUN, 2**40, "db"), RUN, "db") == 2**40


def test_the_cursor_of_another_run_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        decode_cursor(encode_cursor(RUN, 3, "db"), uuid4(), "db")
    assert refusal.value.reason is Reason.INVALID_CURSOR
    assert refusal.value.field == "cursor"
    assert str(RUN) in refusal.value.message


def test_the_cursor_of_another_database_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="another database"):
        decode_cursor(encode_cursor(RUN, 3, "db"), RUN, "restored")


@pytest.mark.parametrize("text", ["x", "é", "AAAA", "=" * 40, "A" * 44, "\x00", "a" * 10_000])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        decode_cursor(text, RUN, "db")
    assert refusal.value.reason is Reason.INVALID_CURSOR
