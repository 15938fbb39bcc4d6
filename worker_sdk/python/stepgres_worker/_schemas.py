"""JSON Schemas from type hints, for the catalogue. What cannot be derived is left out; nothing here ever fails."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import functools
import inspect
import sys
import types
import typing
import uuid
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

JsonSchema = dict[str, Any]
#: Validation describes what comes in, serialization what goes out: pydantic models may differ.
Mode = Literal["validation", "serialization"]

_SCALARS: dict[Any, JsonSchema] = {
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
}
_ARRAYS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_AWAITABLES = (collections.abc.Awaitable, collections.abc.Coroutine)
_QUALIFIERS = (typing.Required, typing.NotRequired, typing.Annotated, getattr(typing, "ReadOnly", typing.Annotated))


class _Unknown(Exception):
    """The hint says nothing about JSON."""


def schema_of(hint: Any, mode: Mode = "validation") -> JsonSchema | None:
    """The JSON Schema of a type hint; None when it says nothing about JSON."""
    builder = _Builder(mode)
    try:
        return builder.finished(builder.build(hint))
    except Exception:  # noqa: BLE001  hints are other people's code: metaclasses, descriptors, half-made modules
        return None


def schemas_of(function: Callable[..., Any], *, is_map: bool = False) -> tuple[JsonSchema | None, JsonSchema | None]:
    """The JSON Schemas of a handler's input and output, from its hints; None for what they do not tell.

    Args:
        function: `(input)` or `(input, ctx)`, sync or async.
        is_map: it serves steps that map, so its input is `{"item": <element>, "index": i}`: a hint that does not
            describe such an object is taken for the element's, and without one the rest is told.
    """
    first, returned = _hints(function)
    taken = None if first is inspect.Parameter.empty else schema_of(first)
    given = None if returned is inspect.Parameter.empty else schema_of(_awaited(returned), "serialization")
    return (_map_input(taken) if is_map else taken), given


def _map_input(schema: JsonSchema | None) -> JsonSchema:
    described = schema or {}
    definitions = {"$defs": described["$defs"]} if "$defs" in described else {}
    if "item" in _resolved(described).get("properties", {}):
        return described
    item = {key: value for key, value in described.items() if key != "$defs"}
    if item.get("type") == "object" and "properties" not in item:
        # dict[str, X]: both values were meant, and the index is an integer whatever X is.
        item = {}
    return {
        "type": "object",
        "properties": {"item": item, "index": {"type": "integer", "minimum": 0}},
        "required": ["item", "index"],
        **definitions,
    }


def _resolved(schema: JsonSchema) -> JsonSchema:
    """The schema itself, or the definition that it is a reference to."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    found: JsonSchema = schema.get("$defs", {}).get(name, schema)
    return found


def _hints(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Hints of the first parameter and of the result; `Parameter.empty` for none that can be read."""
    try:
        signature = inspect.signature(function)
        names = getattr(_plain(function), "__globals__", {})
    except Exception:  # noqa: BLE001  builtins have none; hints that are evaluated late may fail
        return inspect.Parameter.empty, inspect.Parameter.empty
    first = next(iter(signature.parameters.values()), None)
    taken = inspect.Parameter.empty if first is None else _evaluated(first.annotation, names)
    return taken, _evaluated(signature.return_annotation, names)


def _plain(function: Any) -> Any:
    """The function behind partials, methods, wrappers and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return inspect.unwrap(function)


def _evaluated(hint: Any, names: Mapping[str, Any]) -> Any:
    """A hint with its texts evaluated, each for itself: one that cannot be is no reason to lose the others."""
    if hint is inspect.Parameter.empty:
        return hint

    def holder() -> None: ...

    holder.__annotations__ = {"hint": hint}
    try:
        return typing.get_type_hints(holder, dict(names), {}, include_extras=True)["hint"]
    except Exception:  # noqa: BLE001  a name that exists for type checkers only, or anything at all
        return inspect.Parameter.empty


def _awaited(hint: Any) -> Any:
    """What an awaitable gives."""
    return typing.get_args(hint)[-1] if typing.get_origin(hint) in _AWAITABLES and typing.get_args(hint) else hint


class _Builder:
    """Builds one schema; classes become definitions, so that recursion and repetition cost nothing."""

    def __init__(self, mode: Mode) -> None:
        self._mode: Mode = mode
        self._definitions: dict[str, JsonSchema] = {}
        self._names: dict[Any, str] = {}

    def finished(self, schema: JsonSchema) -> JsonSchema:
        """The schema with its definitions; a class that nothing else refers to stands at the top."""
        name = schema.get("$ref", "").removeprefix("#/$defs/")
        if name and _mentions(self._definitions, schema["$ref"]) == 0:
            schema = self._definitions.pop(name)
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def inner(self, hint: Any) -> JsonSchema:
        """The schema of a part; {} where nothing is known of it."""
        if hint is inspect.Parameter.empty:
            return {}
        try:
            return self.build(hint)
        except _Unknown:
            return {}

    def build(self, hint: Any) -> JsonSchema:
        """The schema of a hint. Raises _Unknown."""
        hint = _unwrapped(hint)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is None and hint in _SCALARS:
            return dict(_SCALARS[hint])
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments)
        if origin is Literal:
            return self._choice([a.value if isinstance(a, enum.Enum) else a for a in arguments])
        if hint is tuple or origin is tuple:
            return self._tuple(arguments)
        if hint in _ARRAYS or origin in _ARRAYS:
            return self._array(arguments)
        if hint in _OBJECTS or origin in _OBJECTS:
            return self._object(arguments)
        if isinstance(hint, type):
            return self._class(hint)
        raise _Unknown

    def _union(self, members: tuple[Any, ...]) -> JsonSchema:
        # A member that nothing is known of allows everything: then the whole is unknown.
        return {"anyOf": [self.build(member) for member in members]}

    @staticmethod
    def _choice(values: list[Any]) -> JsonSchema:
        if not all(isinstance(value, str | int | float | bool | None) for value in values):
            raise _Unknown
        return {"enum": values}

    def _tuple(self, arguments: tuple[Any, ...]) -> JsonSchema:
        if not arguments:
            return {"type": "array"}
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return self._array(arguments[:1])
        items = [self.inner(argument) for argument in arguments if argument != ()]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _array(self, arguments: tuple[Any, ...]) -> JsonSchema:
        items = self.inner(arguments[0]) if arguments else {}
        return {"type": "array", "items": items} if items else {"type": "array"}

    def _object(self, arguments: tuple[Any, ...]) -> JsonSchema:
        values = self.inner(arguments[1]) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}

    def _class(self, hint: type) -> JsonSchema:
        if hint in self._names:
            return {"$ref": f"#/$defs/{self._names[hint]}"}
        if issubclass(hint, enum.Enum):
            return self._choice([member.value for member in hint])
        if _is_pydantic(hint):
            return self._pydantic(hint)
        if not typing.is_typeddict(hint) and not dataclasses.is_dataclass(hint):
            raise _Unknown
        name = self._names[hint] = self._free_name(hint.__name__)
        self._definitions[name] = {}  # taken, before a field refers to it
        self._definitions[name] = self._fields(hint)
        return {"$ref": f"#/$defs/{name}"}

    def _fields(self, hint: type) -> JsonSchema:
        if dataclasses.is_dataclass(hint):
            hints: dict[str, Any] = {}
            for base in reversed(hint.__mro__):
                names = _module_of(base)
                hints |= {key: _evaluated(text, names) for key, text in inspect.get_annotations(base).items()}
            fields = dataclasses.fields(hint)
            hints = {field.name: hints.get(field.name, Any) for field in fields}
            # What goes out has every field.
            required = [f.name for f in fields if self._mode == "serialization" or not _has_default(f)]
        else:
            names = _module_of(hint)
            hints = {key: _evaluated(text, names) for key, text in hint.__annotations__.items()}
            # Texts of postponed evaluation hide their qualifier from the class.
            qualified = {key: typing.get_origin(inner) for key, inner in hints.items()}
            always: frozenset[str] = hint.__required_keys__  # type: ignore[attr-defined]
            required = [
                key
                for key, origin in qualified.items()
                if origin is typing.Required or (key in always and origin is not typing.NotRequired)
            ]
        properties = {key: self.inner(inner) for key, inner in hints.items()}
        schema: JsonSchema = {"type": "object", "properties": properties}
        return {**schema, "required": required} if required else schema

    def _pydantic(self, model: Any) -> JsonSchema:
        schema: JsonSchema = model.model_json_schema(mode=self._mode)
        for name, definition in schema.pop("$defs", {}).items():
            if self._definitions.setdefault(name, definition) != definition:
                raise _Unknown  # two classes of one name
        return schema

    def _free_name(self, name: str) -> str:
        taken, number = name, 2
        while taken in self._definitions:
            taken, number = f"{name}{number}", number + 1
        return taken


def _unwrapped(hint: Any) -> Any:
    """The hint inside qualifiers, NewType and `type X = …`."""
    while True:
        if typing.get_origin(hint) in _QUALIFIERS:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _is_pydantic(hint: type) -> bool:
    """Whether it is a pydantic model; where there is one, pydantic has been imported already."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(hint, pydantic.BaseModel)


def _module_of(hint: type) -> dict[str, Any]:
    """The names that hints of a class may use."""
    return dict(vars(sys.modules[hint.__module__])) if hint.__module__ in sys.modules else {}


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _mentions(value: Any, reference: str) -> int:
    """How often a schema refers to a definition."""
    if isinstance(value, dict):
        return (value.get("$ref") == reference) + sum(_mentions(item, reference) for item in value.values())
    if isinstance(value, list):
        return sum(_mentions(item, reference) for item in value)
    return 0
