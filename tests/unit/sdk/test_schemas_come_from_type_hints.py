"""What the catalogue tells of a handler's input and output."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import functools
import unittest.mock
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, NotRequired, Required, TypedDict

import pydantic
import pytest
from jsonschema import Draft202012Validator

from stepgres_worker._schemas import schema_of, schemas_of

if TYPE_CHECKING:
    from stepgres_worker import Context

Cents = NewType("Cents", int)


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Shape(TypedDict):
    sides: int
    name: NotRequired[str]


class Part(Shape, total=False):
    color: Required[Color]
    parts: list[Part]


@dataclasses.dataclass
class Order:
    shape: Shape
    other: Shape
    cents: Cents = Cents(0)
    tags: list[str] = dataclasses.field(default_factory=list)
    secret: Hidden = None  # type: ignore[name-defined]  # noqa: F821  a name that exists nowhere


class Item(TypedDict):
    item: int
    index: int


class Card(pydantic.BaseModel):
    number: str
    color: Color = Color.RED


SHAPE = {
    "type": "object",
    "properties": {"sides": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["sides"],
}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"type": "integer"}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (str, {"type": "string"}),
        (None, {"type": "null"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Cents, {"type": "integer"}),
        (Annotated[int, ["unhashable"]], {"type": "integer"}),
        (Literal["a", 1, None, Color.RED], {"enum": ["a", 1, None, "r"]}),
        (Color, {"enum": ["r", "b"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (collections.abc.Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (list[Any], {"type": "array"}),
        (list[set[int]], {"type": "array"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Shape, SHAPE),
        (list[Shape], {"type": "array", "items": {"$ref": "#/$defs/Shape"}, "$defs": {"Shape": SHAPE}}),
        # What is not known is left out, at the top and in parts.
        (Any, None),
        (object, None),
        (bytes, None),
        (set[int], None),
        (int | Any, None),
        ("a name", None),
        (3, None),
        (Literal[b"a"], None),
    ],
    ids=str,
)
def test_a_hint_becomes_a_schema(hint: Any, expected: Any) -> None:
    assert schema_of(hint) == expected
    if expected is not None:
        Draft202012Validator.check_schema(expected)


def test_a_class_that_refers_to_itself_has_a_definition() -> None:
    schema = schema_of(Part)
    assert schema is not None
    assert schema["$ref"] == "#/$defs/Part"
    assert schema["$defs"]["Part"]["properties"]["parts"] == {"type": "array", "items": {"$ref": "#/$defs/Part"}}
    assert sorted(schema["$defs"]["Part"]["required"]) == ["color", "sides"]
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"sides": 3, "color": "r", "parts": [{"sides": 1, "color": "b"}]})
    assert not validator.is_valid({"sides": 3, "color": "r", "parts": [{"sides": 1}]})


def test_a_dataclass_requires_what_has_no_default_and_gives_everything() -> None:
    taken, given = schema_of(Order), schema_of(Order, "serialization")
    assert taken is not None
    assert given is not None
    assert taken["required"] == ["shape", "other"]
    assert given["required"] == ["shape", "other", "cents", "tags", "secret"]
    assert taken["properties"]["secret"] == {}
    # Told once, however often it is used.
    assert taken["$defs"] == {"Shape": SHAPE}
    assert Draft202012Validator(taken).is_valid({"shape": {"sides": 3}, "other": {"sides": 4}})


def test_pydantic_models_tell_for_themselves() -> None:
    for hint in (Card, list[Card], dict[str, Card]):
        schema = schema_of(hint)
        assert schema is not None
        Draft202012Validator.check_schema(schema)
        value: Any = {"number": "4", "color": "b"}
        wrapped = {Card: value}.get(hint) or ([value] if hint == list[Card] else {"a": value})
        assert Draft202012Validator(schema).is_valid(wrapped)
        assert not Draft202012Validator(schema).is_valid("no card")


def test_two_classes_of_one_name_stay_two() -> None:
    other = TypedDict("Shape", {"corners": str})  # type: ignore[misc]  # noqa: UP013
    schema = schema_of(tuple[Shape, other])  # type: ignore[valid-type]
    assert schema is not None
    assert schema["prefixItems"] == [{"$ref": "#/$defs/Shape"}, {"$ref": "#/$defs/Shape2"}]
    assert schema["$defs"]["Shape2"]["properties"] == {"corners": {"type": "string"}}


# Handlers


def told(input: Shape, ctx: Context) -> list[int]:
    return []


async def told_later(input: int) -> None: ...


def silent(input, ctx):  # type: ignore[no-untyped-def]
    return 1


def half(input: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    return ""


class Callable:
    def __call__(self, input: int) -> collections.abc.Awaitable[str]:
        raise NotImplementedError

    def method(self, input: str) -> bool:
        return True


@functools.wraps(told)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return told(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "taken", "given"),
    [
        # A name that only type checkers import hides nothing else.
        (told, SHAPE, {"type": "array", "items": {"type": "integer"}}),
        (told_later, {"type": "integer"}, {"type": "null"}),
        (silent, None, None),
        (half, None, {"type": "string"}),
        (lambda input: 1, None, None),
        (Callable(), {"type": "integer"}, {"type": "string"}),
        (Callable().method, {"type": "string"}, {"type": "boolean"}),
        (functools.partial(told, ctx=None), SHAPE, {"type": "array", "items": {"type": "integer"}}),
        (wrapped, SHAPE, {"type": "array", "items": {"type": "integer"}}),
        (print, None, None),
        (int, None, None),
        (unittest.mock.Mock(), None, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_handler_tells_what_it_takes_and_gives(function: Any, taken: Any, given: Any) -> None:
    assert schemas_of(function) == (taken, given)


def of_items(input: Item) -> int:
    return 1


def of_elements(input: Shape) -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "item"),
    [(silent, {}), (half, {}), (told_later, {"type": "integer"}), (of_elements, SHAPE)],
)
def test_a_handler_of_maps_gets_an_item_and_its_index(function: Any, item: Any) -> None:
    assert schemas_of(function, is_map=True)[0] == {
        "type": "object",
        "properties": {"item": item, "index": {"type": "integer", "minimum": 0}},
        "required": ["item", "index"],
    }


def test_a_hint_that_describes_the_item_is_left_as_it_is() -> None:
    assert schemas_of(of_items, is_map=True)[0] == schema_of(Item)
