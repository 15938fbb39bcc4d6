"""What is wrong with a document that should be a message of the contract: everything at once, with fixes, and the rest of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ._hints import did_you_mean
from ._mending import ABSENT, STRUCT, is_int32, is_remark, is_unicode, meant_field, needed, shaped, shaped_item
from ._patches import Operation, joined, pointer, put, remove, replace

#: Characters of a value that a message shows.
_MAX_SHOWN = 100
#: Keys and indices that lead to a value.
_Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that is unknown or of the wrong type."""

    #: Path in the document, with the contract's names, such as `steps[2].timeout_s`.
    path: str
    #: Name of an ErrorReason.
    reason: str
    #: What is wrong.
    what: str
    #: What to do.
    remedy: str
    #: JSON Patch that mends this in the document as it was given; empty where the author must decide.
    fix: tuple[Operation, ...] = ()

    @property
    def text(self) -> str:
        """Path, value, what is wrong, what to do."""
        return f"{self.path}: {self.what}{self.remedy}"


class Reader:
    """Reads a document as far as it can be read.

    What can be mended is read as mended. Elsewhere a placeholder stands, so that every path leads where it led.

    Args:
        path: where the document stands, such as `plan`; empty for the whole.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        #: In the order of the document.
        self.faults: list[Fault] = []
        #: Paths of what could not be read.
        self.unread: list[str] = []
        #: Names that begin so stand for what could not be read.
        self.placeholder = "unreadable_"
        #: Place -> what makes the document have it, where its author wrote it elsewhere or otherwise.
        self._moved: dict[str, list[Operation]] = {}

    def read(self, document: Any, message: Descriptor) -> dict[str, Any]:
        """What of a document can be read; null stands for "not given"."""
        while self.placeholder in _dumped(document):
            self.placeholder += "_"
        if not isinstance(document, Mapping):
            self._add(
                Fault(self._path or "the plan", "FIELD_INVALID", f"is {_shown(document)}", "; an object is needed")
            )
            return {}
        return self._message(document, message, self._path, ())

    def with_moves(self, operations: Sequence[Operation]) -> list[Operation]:
        """Operations on the document as it is read, for the document as it was given."""
        before: list[Operation] = []
        for operation in operations:
            parts = operation["path"].split("/")
            for length in range(2, len(parts) + 1):
                before += self._moved.get("/".join(parts[:length]), ())
        return [*before, *operations]

    def hides(self, path: str) -> bool:
        """Whether what is said of a path may be due to something that could not be read."""
        return any(
            path == gone or path.startswith((f"{gone}.", f"{gone}[")) or gone.rpartition("[")[0] == path
            for gone in self.unread
        )

    def _message(self, document: Mapping[Any, Any], message: Descriptor, path: str, place: _Place) -> dict[str, Any]:
        read: dict[str, Any] = {}
        json_names = {field.json_name: field.name for field in message.fields}
        taken = {json_names.get(name, name) for name, value in document.items() if value is not None}
        for name, value in document.items():
            field = message.fields_by_name.get(json_names.get(name, name))
            if field is not None and field.name != name and field.name not in document:
                self._move(place, name, field.name, value)
            elif field is None or field.name != name:
                field = self._unknown(name, value, message, taken, path, place)
            if field is None or value is None:
                continue
            taken.add(field.name)
            here = f"{path}.{field.name}" if path else field.name
            held = self._field(value, field, here, (*place, field.name))
            if held is not ABSENT:
                read[field.name] = held
            elif field.name == "slug":
                read[field.name] = self._stand_in()
        return read

    def _unknown(
        self, name: Any, value: Any, message: Descriptor, taken: set[str], path: str, place: _Place
    ) -> FieldDescriptor | None:
        """Tells of a key that is unknown; the field that it surely means."""
        meant = meant_field(name, message, taken) if isinstance(name, str) and value is not None else None
        if meant is not None and shaped(value, meant) is ABSENT:
            meant = None
        fix: list[Operation] = []
        if meant is not None:
            remedy = f"; did you mean {meant.name!r}?"
            fix = self._move(place, name, meant.name, value)
        elif isinstance(name, str) and (value is None or is_remark(name)):
            fix = [remove(pointer(*place, name))]
            remedy = "; drop it, nothing here reads it"
        else:
            known = message.fields_by_name
            remedy = did_you_mean(name, known) or f"; the fields are {', '.join(known)}"
        self._add(Fault(f"{path}.{name}" if path else str(name), "FIELD_INVALID", "is unknown", remedy), fix, place)
        return meant

    def _move(self, place: _Place, old: str, new: str, value: Any) -> list[Operation]:
        moves = [put(pointer(*place, new), value), remove(pointer(*place, old))]
        self._moved.setdefault(pointer(*place, new), []).extend(moves)
        return moves

    def _field(self, value: Any, field: FieldDescriptor, path: str, place: _Place) -> Any:
        if not field.is_repeated:
            return self._value(value, field, path, place)
        items = shaped(value, field)
        if items is not value:
            fix = [] if items is ABSENT else [replace(pointer(*place), items)]
            self._add(Fault(path, "FIELD_INVALID", f"is {_shown(value)}", "; a list is needed"), fix, place)
            if items is ABSENT:
                self.unread.append(path)
                return ABSENT
            self._moved.setdefault(pointer(*place), []).extend(fix)
        return [self._item(item, field, f"{path}[{index}]", (*place, index)) for index, item in enumerate(items)]

    def _item(self, item: Any, field: FieldDescriptor, path: str, place: _Place) -> Any:
        value = self._value(item, field, path, place)
        if value is not ABSENT:
            return value
        return self._stand_in() if field.message_type is None else {"slug": self._stand_in()}

    def _value(self, value: Any, field: FieldDescriptor, path: str, place: _Place) -> Any:
        need = needed(value, field)
        if need:
            mended = shaped_item(value, field)
            if mended is ABSENT or field.enum_type is None or value not in ("map", "single"):
                fix = [] if mended is ABSENT else [replace(pointer(*place), mended)]
                if value is None:
                    fix = [remove(pointer(*place))]
                self._add(Fault(path, _reason(value, field), f"is {_shown(value)}", f"; {need} is needed"), fix, place)
                if mended is not ABSENT and field.message_type is not None:
                    self._moved.setdefault(pointer(*place), []).extend(fix)
            value = mended
        if value is ABSENT:
            self.unread.append(path)
        elif field.message_type is not None and field.message_type.full_name == STRUCT:
            faults = list(_faults_of_json(value, path))
            for fault in faults:
                self._add(fault)
            if faults:
                self.unread.append(path)
                return ABSENT
        elif field.message_type is not None:
            return self._message(value, field.message_type, path, place)
        return value

    def _add(self, fault: Fault, fix: Sequence[Operation] = (), place: _Place = ()) -> None:
        # A fix within something that was moved needs the move first.
        within = self.with_moves([remove(pointer(*place))])[:-1] if fix and place else []
        whole = joined([*within, *fix])
        self.faults.append(Fault(fault.path, fault.reason, fault.what, fault.remedy, whole))

    def _stand_in(self) -> str:
        return f"{self.placeholder}{len(self.unread)}"


def faults_of(document: Any, message: Descriptor, path: str = "") -> Iterator[str]:
    """Yields a line for each field that is unknown or of the wrong type: path, value, what is wrong, what to do.

    Args:
        document: what should be an object with the message's fields; null stands for "not given".
        message: which fields there are, by their original names.
        path: where the document stands, such as `plan`; empty for the whole.
    """
    reader = Reader(path)
    reader.read(document, message)
    yield from (fault.text for fault in reader.faults)


def _reason(value: Any, field: FieldDescriptor) -> str:
    if field.type == field.TYPE_STRING and isinstance(value, str):
        return "INVALID_UTF8"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and field.type == field.TYPE_INT32 and not is_int32(math.trunc(value)):
        return "FIELD_OUT_OF_RANGE"
    return "FIELD_INVALID"


def _faults_of_json(value: Any, path: str) -> Iterator[Fault]:
    """What JSON cannot hold, anywhere inside of a value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                yield Fault(path, "INVALID_JSON", f"has the key {_shown(name)}", "; keys of JSON are texts, quote it")
            yield from _faults_of_json(item, f"{path}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _faults_of_json(item, f"{path}[{index}]")
    elif isinstance(value, str) and not is_unicode(value):
        yield Fault(path, "INVALID_UTF8", f"is {_shown(value)}", "; a text without halves of surrogate pairs is needed")
    elif (isinstance(value, float) and not math.isfinite(value)) or not isinstance(
        value, str | bool | int | float | None
    ):
        what = f"is {_shown(value)}, which JSON has not"
        yield Fault(path, "INVALID_JSON", what, "; a text is needed, or another JSON value")


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError):  # keys that are no texts
        return repr(value)


def _shown(value: Any) -> str:
    text = _dumped(value)
    if not is_unicode(text):
        text = json.dumps(value, default=repr)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
