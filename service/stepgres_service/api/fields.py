"""The checks that every request needs: what is wrong is told all at once, by field path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2
from stepgres_service.engine.checks import check_slug, is_plan
from stepgres_service.errors import InvalidArgument, Reason, Violation

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_MAX_PAGE = 1000
_DEFAULT_PAGE = 50
_VIEWS: dict[int, bool] = {common_pb2.VIEW_BASIC: False, common_pb2.VIEW_FULL: True}

_T = TypeVar("_T")


class Fields:
    """Collects what is wrong with the fields of a request."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, path: str, reason: Reason, message: str) -> None:
        """Notes a fault."""
        self.found.append(Violation(path, reason, message))

    def refuse(self) -> None:
        """Raises InvalidArgument when anything was found."""
        if self.found:
            raise InvalidArgument(*self.found)

    def run_id(self, value: str) -> UUID:
        """A run's id in its canonical text form."""
        if not value:
            self.add("run_id", Reason.FIELD_REQUIRED, "is empty; name the run")
        elif not _UUID.match(value):
            self.add(
                "run_id",
                Reason.FIELD_INVALID,
                f'"{value[:80]}" is no UUID; send the id as the start of the run answered it',
            )
        else:
            return UUID(value)
        return UUID(int=0)

    def text(self, path: str, value: str, limit: int) -> str:
        """A text of limited length."""
        if "\x00" in value:
            self.add(path, Reason.NUL_CHARACTER, "holds the character U+0000; remove it")
        elif len(value) > limit:
            self.add(
                path, Reason.FIELD_TOO_LONG, f"has {len(value)} characters, at most {limit} are allowed; shorten it"
            )
        return value

    def slug(self, path: str, value: str, *, required: bool) -> str:
        """The name of a flow or step."""
        if value or required:
            self.found.extend(check_slug(path, value))
        return value

    def flow(self, path: str, value: str, *, required: bool) -> str:
        """The name of a flow, or of an inline plan."""
        return value if is_plan(value) else self.slug(path, value, required=required)

    def definition(self, value: str) -> str:
        """What a run starts when no plan came along."""
        if not value:
            self.add("flow", Reason.FIELD_REQUIRED, "is empty; name a flow, or send a plan")
            return value
        return self.flow("flow", value, required=True)

    def not_negative(self, path: str, value: int) -> int:
        """A number from 0."""
        if value < 0:
            self.add(path, Reason.FIELD_OUT_OF_RANGE, f"is {value}; use 0 or more")
        return value

    def page_size(self, value: int) -> int:
        """A page size: 0 means 50, more than 1,000 is cut."""
        return min(self.not_negative("page_size", value) or _DEFAULT_PAGE, _MAX_PAGE)

    def choice(self, path: str, value: int, known: Mapping[int, _T]) -> _T | None:
        """A value of an enum; None when it is not given."""
        if value and value not in known:
            self.add(path, Reason.FIELD_INVALID, f"is {value}; use one of the enum's values")
        return known.get(value)

    def full(self, value: int, *, default: bool) -> bool:
        """Whether a view has payloads."""
        view = self.choice("view", value, _VIEWS)
        return default if view is None else view

    def time(self, path: str, given: bool, value: Timestamp) -> datetime | None:
        """A point in time; None when it is not given."""
        if not given:
            return None
        try:
            return value.ToDatetime(UTC)
        except (ValueError, OverflowError):
            self.add(path, Reason.FIELD_INVALID, "is no point in time; use the years 1 to 9999")
            return None
