"""JsonChecker: what passes byte for byte, what is refused and why, and when the judge is asked."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgres_service.api.payloads import JsonChecker, has_nul_escape
from stepgres_service.errors import InvalidArgument, Reason, Unavailable


class Judge:
    """Answers as told, and remembers."""

    def __init__(self, verdict: str | None = "Token is invalid") -> None:
        self.verdict = verdict
        self.asked: list[bytes] = []

    async def __call__(self, data: bytes) -> str | None:
        self.asked.append(data)
        return self.verdict


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b"null",
        b"1e5",
        b' {"a" : 1.0}\n',
        '"é𝄞"'.encode(),
        b'"\\ud834\\udd1e"',
        b'"\\\\u0000"',
        b'{"a":1,"a":2}',
    ],
)
async def test_json_passes_byte_for_byte_without_a_question(data):
    judge = Judge()

    assert await JsonChecker(judge).check(data, "input", 100) == data.decode()
    assert judge.asked == []


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b'"' + b"x" * 99 + b'"', Reason.PAYLOAD_TOO_LARGE, "has 101 bytes, at most 100 are allowed"),
        (b'"\xff"', Reason.INVALID_UTF8, "at byte 1"),
        (b'"\xed\xa0\x80"', Reason.INVALID_UTF8, "at byte 1"),
        (b'"\\u0000"', Reason.NUL_CHARACTER, "at byte 1"),
        (b'"\\\\\\u0000"', Reason.NUL_CHARACTER, "at byte 3"),
        (b'{"\\u0000":1}', Reason.NUL_CHARACTER, "at byte 2"),
        (b'"a\x00"', Reason.NUL_CHARACTER, "at byte 2"),
        (b"\x00", Reason.NUL_CHARACTER, "at byte 0"),
        (b'{"a":', Reason.INVALID_JSON, "line 1 column 6"),
        (b"{\n'a'}", Reason.INVALID_JSON, "line 2 column 1"),
        (b"", Reason.INVALID_JSON, "it is empty"),
        (b"NaN", Reason.INVALID_JSON, "Token is invalid"),
    ],
)
async def test_what_is_refused_says_why_where_and_what_to_do(data, reason, says):
    with pytest.raises(InvalidArgument) as caught:
        await JsonChecker(Judge()).check(data, "requests[3].input", 100)

    (violation,) = caught.value.violations
    assert (violation.path, violation.reason) == ("requests[3].input", reason)
    assert says in violation.message
    assert violation.message.rpartition("; ")[2].split()[0] in ("send", "remove")


async def test_what_the_quick_parser_refuses_may_still_be_json():
    judge = Judge(None)

    assert await JsonChecker(judge).check(b"1e400", "input", 100) == "1e400"
    assert judge.asked == [b"1e400"]


async def test_a_nul_is_found_in_what_only_the_judge_accepts():
    with pytest.raises(InvalidArgument) as caught:
        await JsonChecker(Judge(None)).check(b'[1e400,"\\u0000"]', "input", 100)

    assert caught.value.reason == Reason.NUL_CHARACTER


async def test_a_judge_that_is_away_is_no_verdict():
    async def away(data: bytes) -> str | None:
        raise Unavailable("away", reason=Reason.DATABASE_UNAVAILABLE)

    with pytest.raises(Unavailable):
        await JsonChecker(away).check(b"1e400", "input", 100)


@given(
    st.recursive(
        st.text(alphabet='\\u0"a\x00', max_size=8),
        lambda c: st.lists(c) | st.dictionaries(st.text(alphabet="\\u0\x00"), c),
    )
)
def test_a_nul_is_found_exactly_where_there_is_one(value):
    def holds(item: object) -> bool:
        if isinstance(item, dict):
            return any(holds(key) or holds(each) for key, each in item.items())
        return any(map(holds, item)) if isinstance(item, list) else "\x00" in str(item)

    assert has_nul_escape(json.dumps(value).encode()) is holds(value)
    assert has_nul_escape(orjson.dumps(value)) is holds(value)
