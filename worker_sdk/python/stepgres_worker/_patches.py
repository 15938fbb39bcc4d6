"""JSON Patches (RFC 6902): the fixes of plans, applied and put together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

#: An operation of a JSON Patch.
Operation = Mapping[str, Any]


def apply_patch(document: Any, operations: Iterable[Operation]) -> Any:
    """A copy of a document with the operations `add`, `replace` and `remove` of a JSON Patch (RFC 6902) applied.

    Args:
        document: plain dicts and lists, left as they are.
        operations: in order.

    Raises:
        ValueError: an operation is of another kind, or its path leads nowhere.
    """
    patched = copy.deepcopy(document)
    for operation in operations:
        kind, path = operation["op"], operation["path"]
        if kind not in ("add", "replace", "remove"):
            raise ValueError(f"{kind}: an operation of another kind than add, replace and remove")
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
        try:
            owner = patched
            for part in parents:
                owner = owner[int(part)] if isinstance(owner, list) else owner[part]
            _change(owner, last, kind, copy.deepcopy(operation.get("value")))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: leads nowhere in this document") from error
    return patched


def _change(owner: Any, key: str, kind: str, value: Any) -> None:
    if isinstance(owner, list):
        if kind == "add":
            owner.insert(len(owner) if key == "-" else int(key), value)
        elif kind == "replace":
            owner[int(key)] = value
        else:
            del owner[int(key)]
    elif kind == "remove":
        del owner[key]
    else:
        owner[key] = value


def pointer(*parts: str | int) -> str:
    """A JSON Pointer: `("steps", 2, "a/b")` -> `/steps/2/a~1b`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def put(path: str, value: Any) -> Operation:
    """Sets a key of an object."""
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> Operation:
    """Sets what is there already, also an element of a list."""
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Operation:
    """Removes a key or an element."""
    return {"op": "remove", "path": path}


def joined(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """Operations of several patches of one document as one: what sets in order, then what removes, from the back.

    So no removal moves what another operation speaks of. What is said twice is done once.
    """
    once: list[Operation] = []
    seen: set[str] = set()
    for operation in operations:
        key = repr(sorted(operation.items()))
        if key not in seen:
            seen.add(key)
            once.append(operation)
    removals = sorted((o for o in once if o["op"] == "remove"), key=lambda o: _position(o["path"]), reverse=True)
    return (*(o for o in once if o["op"] != "remove"), *removals)


def first_of_each_place(operations: Iterable[Operation]) -> list[Operation]:
    """Of two operations that set one place the first counts."""
    kept: dict[tuple[bool, str], Operation] = {}
    for operation in operations:
        kept.setdefault((operation["op"] == "remove", operation["path"]), operation)
    return list(kept.values())


def _position(path: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts pointers as they stand in the document; numbers by their value."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in path.split("/"))
