"""JSON in and out: orjson where it is installed and exact, the standard library otherwise; the results are the same."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import uuid
from json import scanner
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import orjson as _orjson
except ImportError:  # the extra is not installed
    _orjson = None  # type: ignore[assignment]

#: Digits become "0", so that one search finds a number orjson would turn into a float.
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte < 58 else byte for byte in range(256))
_BIG_NUMBER = b"0" * 19
_scan_once: Callable[[str, int], tuple[Any, int]] = scanner.make_scanner(json.JSONDecoder())  # type: ignore[arg-type]


def _default(value: Any) -> Any:
    """What orjson knows beyond the standard library, so that both encode the same."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"an object of type {type(value).__name__} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_default).encode


def _dumps_stdlib(value: Any) -> bytes:
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8, but an escape
        return _encode_ascii(value).encode()


def _loads_stdlib(data: bytes) -> Any:
    text = data.decode()
    try:
        value, end = _scan_once(text, 0)
    except StopIteration:
        end = -1
    # Blanks around the value, or something that is no JSON: the slower way knows.
    return value if end == len(text) else json.loads(text)


def _dumps_orjson(value: Any) -> bytes:
    if value is None:
        return b"null"
    try:
        data = _orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, keys that are no strings, …
        return _dumps_stdlib(value)
    # orjson writes NaN and infinities as null; the other encoder refuses them.
    return _dumps_stdlib(value) if b"null" in data else data


def _loads_orjson(data: bytes) -> Any:
    if len(data) > 18 and _BIG_NUMBER in data.translate(_DIGITS_TO_ZERO):
        return _loads_stdlib(data)
    try:
        return _orjson.loads(data)
    except ValueError:
        return _loads_stdlib(data)


#: Encodes a value as compact UTF-8 JSON. Raises TypeError, ValueError or RecursionError for what is not JSON.
dumps: Callable[[Any], bytes] = _dumps_stdlib if _orjson is None else _dumps_orjson
#: Decodes UTF-8 JSON, integers of any size exactly. Raises ValueError for what is not JSON.
loads: Callable[[bytes], Any] = _loads_stdlib if _orjson is None else _loads_orjson


def encode_input(value: Any, path: str = "input") -> bytes:
    """Encodes an input; `bytes` are JSON already and pass through, None is {}.

    Raises:
        TypeError, ValueError: it is not JSON; the message says where in it and what to do.
    """
    if value is None:
        return b"{}"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        return dumps(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(why_not(value, path) or f"{path}: {error}") from None


def why_not(value: Any, path: str) -> str:
    """`input.tags: a set is not JSON; use a list`: the first place in a value that JSON cannot hold; empty: none is found.

    Args:
        value: what could not be encoded.
        path: where it stands.
    """
    waiting, seen = [(path, value)], set[int]()
    while waiting:
        here, item = waiting.pop()
        if item is None or isinstance(item, str | bool | int) or id(item) in seen:
            continue
        seen.add(id(item))
        inner: list[tuple[str, Any]] = []
        if isinstance(item, float):
            if not math.isfinite(item):
                return f"{here}: {item} is not JSON; use None or a text"
        elif isinstance(item, dict):
            for key in item:
                if not isinstance(key, str | int | float | bool | None):
                    return f"{here}: {_named(key)} as a key is not JSON; use a text"
            inner = [(f"{here}.{key}", held) for key, held in item.items()]
        elif isinstance(item, list | tuple):
            inner = [(f"{here}[{index}]", held) for index, held in enumerate(item)]
        else:
            try:
                held = _default(item)
            except TypeError:
                return f"{here}: {_named(item)} is not JSON; {_REMEDIES.get(type(item).__name__, _KINDS)}"
            inner = (
                [(f"{here}.{key}", part) for key, part in held.items()] if isinstance(held, dict) else [(here, held)]
            )
        waiting += reversed(inner)
    return ""


_KINDS = "use dict, list, str, int, float, bool or None"
_REMEDIES = {
    "set": "use a list, such as sorted(…)",
    "frozenset": "use a list, such as sorted(…)",
    "bytes": "decode it, or send it as base64 in a text",
    "Decimal": "use a text, or a float",
}


def _named(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
