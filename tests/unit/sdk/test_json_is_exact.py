"""What comes in is what was sent, and what goes out is what was returned, with orjson or without."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgres_worker import Worker, _json
from stepgres_worker.testing import FakeTransport

CODECS = [
    pytest.param((_json._dumps_orjson, _json._loads_orjson), id="orjson"),
    pytest.param((_json._dumps_stdlib, _json._loads_stdlib), id="stdlib"),
]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int


EXACT = [
    0,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    10**30 + 7,
    {"deep": [{"n": 12345678901234567890123}]},
    0.1,
    1e300,
    5e-324,
    "",
    'häß 你好 🎉 \u2028 " \\ \n',
    [None, True, False],
    None,
    {"": None},
    {"b": 1, "a": 2},
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_values_survive(codec: Any, value: Any) -> None:
    dumps, loads = codec
    back = loads(dumps(value))
    assert back == value
    assert type(back) is type(value)
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b" [1 ,\n 2] ", [1, 2]),
        (b"18446744073709551616", 2**64),
        (b"[1.0000000000000000000000, 12345678901234567890]", [1.0, 12345678901234567890]),
        (b'{"a":"12345678901234567890123"}', {"a": "12345678901234567890123"}),
        (b"1e400", float("inf")),
        (b'"\\ud800"', "\ud800"),
        (b"-0.0", -0.0),
    ],
)
def test_texts_of_others_are_read(codec: Any, text: bytes, value: Any) -> None:
    assert repr(codec[1](text)) == repr(value)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"nul", b"1 2", b"\xff", b"{'a':1}"])
def test_what_is_no_json_is_refused(codec: Any, text: bytes) -> None:
    with pytest.raises(ValueError):
        codec[1](text)


@pytest.mark.parametrize("codec", CODECS)
def test_both_codecs_know_the_same_types(codec: Any) -> None:
    value = {
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "day": datetime.date(2026, 1, 2),
        "id": uuid.UUID(int=7),
        "colour": Colour.RED,
        "point": Point(1, 2),
        "tuple": (1, 2),
    }
    assert json.loads(codec[0](value)) == {
        "time": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "id": "00000000-0000-0000-0000-000000000007",
        "colour": "red",
        "point": {"x": 1, "y": 2},
        "tuple": [1, 2],
    }
    assert json.loads(codec[0]({1: 2})) == {"1": 2}
    assert codec[0]({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'.encode()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [None, float("-inf")]}, object(), {1, 2}, b"x"])
def test_both_codecs_refuse_the_same_values(codec: Any, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        codec[0](value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_both_codecs_agree(value: Any) -> None:
    ours, theirs = _json._dumps_orjson(value), _json._dumps_stdlib(value)
    assert json.loads(ours) == json.loads(theirs) == value
    assert _json._loads_orjson(theirs) == _json._loads_stdlib(ours) == value


async def test_numbers_and_texts_pass_through_a_worker_unchanged(fake: FakeTransport) -> None:
    worker = Worker(transport=fake)
    worker.step("thread")(lambda input: input)

    @worker.step("loop")
    async def loop(input: Any) -> Any:
        return input

    async with fake.serving(worker):
        for name in ("thread", "loop"):
            assert await fake.run_task(name, EXACT) == EXACT
            assert await fake.run_task(name, {"ключ": "значение 🎉"}) == {"ключ": "значение 🎉"}


def test_inputs_may_be_json_already() -> None:
    assert _json.encode_input(b' {"a": 1.50}') == b' {"a": 1.50}'
    assert _json.encode_input(None) == b"{}"
    assert _json.encode_input("text") == b'"text"'
    assert _json.encode_input([2**70]) == b"[1180591620717411303424]"


def circular() -> list[Any]:
    held: list[Any] = []
    held += [held, held]
    return held


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ({"tags": {"a"}}, TypeError, "input.tags: a set is not JSON; use a list, such as sorted(…)"),
        (
            {"a": [1, {"b": b"x"}]},
            TypeError,
            "input.a[1].b: a bytes is not JSON; decode it, or send it as base64 in a text",
        ),
        ({"a": object()}, TypeError, "input.a: an object is not JSON; use dict, list, str, int, float, bool or None"),
        ({"a": {(1, 2): 3}}, TypeError, "input.a: a tuple as a key is not JSON; use a text"),
        ([1.0, float("nan")], ValueError, "input[1]: nan is not JSON; use None or a text"),
        (circular(), ValueError, "input: Circular reference detected"),
    ],
)
def test_an_input_that_is_no_json_is_refused_with_the_place(value: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as error:
        _json.encode_input(value)
    assert str(error.value) == says
