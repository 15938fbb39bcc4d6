"""Requests of RunService -> values of the engine; what is wrong with one is told all at once, by field path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2, run_pb2
from stepgres_service.api.convert_runs import RUN_STATUSES, TASK_STATUSES
from stepgres_service.api.payloads import JsonChecker
from stepgres_service.engine.checks import check_slug
from stepgres_service.engine.runs import RunRequest
from stepgres_service.errors import InvalidArgument, Reason, Unimplemented, Violation
from stepgres_service.model import RunStatus, TaskStatus
from stepgres_service.store.runs import RunFilter

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_MAX_NAME = 128  # characters of a scope and of an idempotency key
_MAX_REASON = 1000  # characters
_MAX_PAGE = 1000
_DEFAULT_PAGE = 50
_RUN_STATUSES: dict[int, RunStatus] = {number: status for status, number in RUN_STATUSES.items()}
_TASK_STATUSES: dict[int, TaskStatus] = {number: status for status, number in TASK_STATUSES.items()}
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
                f'"{value[:80]}" is no UUID; send the run_id as StartRun answered it',
            )
        else:
            return UUID(value)
        return UUID(int=0)

    def text(self, path: str, value: str, limit: int) -> str:
        """A text of limited length."""
        if "\x00" in value:
            self.add(path, Reason.NUL_CHARACTER, "holds the character U+0000; remove it")
        elif len(value) > limit:
            self.add(path, Reason.FIELD_TOO_LONG, f"has {len(value)} characters, at most {limit} are allowed; shorten it")
        return value

    def slug(self, path: str, value: str, *, required: bool) -> str:
        """The name of a flow or step."""
        if value or required:
            self.found.extend(check_slug(path, value))
        return value

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


async def start_request(
    request: run_pb2.StartRunRequest, payloads: JsonChecker, max_input_bytes: int, traceparent: str | None
) -> RunRequest:
    """What StartRun, or an item of StartRuns, asks for.

    Args:
        request: as it came.
        payloads: judges the input.
        max_input_bytes: largest input.
        traceparent: W3C trace context of the call.

    Raises:
        InvalidArgument: with everything that is wrong.
        Unimplemented: it has an inline plan.
        Unavailable: the database was needed to judge the input and is away.
    """
    fields = Fields()
    if request.WhichOneof("definition") == "plan":
        raise Unimplemented(
            "plan: inline plans are not kept by this server yet; create the flow with CreateFlow, then start it by its "
            "slug in `flow`",
            reason=Reason.NOT_IMPLEMENTED,
            field="plan",
        )
    data = request.input or b"{}"
    try:
        await payloads.check(data, "input", max_input_bytes)
    except InvalidArgument as refusal:
        fields.found.extend(refusal.violations)
    checked = RunRequest(
        flow=fields.slug("flow", request.flow, required=True),
        version=fields.not_negative("version", request.version),
        input=data,
        idempotency_key=fields.text("idempotency_key", request.idempotency_key, _MAX_NAME) or None,
        scope=fields.text("scope", request.scope, _MAX_NAME),
        traceparent=traceparent,
    )
    fields.refuse()
    return checked


def batch_size(request: run_pb2.StartRunsRequest, limit: int) -> None:
    """Refuses a batch of no items, or of too many."""
    fields = Fields()
    count = len(request.requests)
    if not count:
        fields.add("requests", Reason.FIELD_REQUIRED, f"is empty; send 1 to {limit} requests")
    elif count > limit:
        fields.add("requests", Reason.FIELD_TOO_LONG, f"has {count} items, at most {limit} are allowed; send several calls")
    fields.refuse()


def run_filter(request: run_pb2.ListRunsRequest, fields: Fields) -> RunFilter:
    """Which runs ListRuns asks for; faults go into fields."""
    if request.version and not request.flow:
        fields.add("version", Reason.FIELD_INVALID, f"is {request.version} without a flow; name the flow it belongs to")
    return RunFilter(
        flow=fields.slug("flow", request.flow, required=False) or None,
        version=fields.not_negative("version", request.version),
        status=fields.choice("status", request.status, _RUN_STATUSES),
        start_min=fields.time("start_time_min", request.HasField("start_time_min"), request.start_time_min),
        start_max=fields.time("start_time_max", request.HasField("start_time_max"), request.start_time_max),
    )


def task_status(request: run_pb2.ListTasksRequest, fields: Fields) -> TaskStatus | None:
    """Which status ListTasks asks for; faults go into fields."""
    return fields.choice("status", request.status, _TASK_STATUSES)


def cancel_request(request: run_pb2.CancelRunRequest) -> tuple[UUID, str]:
    """The run to cancel, and why."""
    fields = Fields()
    run_id = fields.run_id(request.run_id)
    reason = fields.text("reason", request.reason, _MAX_REASON)
    fields.refuse()
    return run_id, reason


def traceparent_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """The W3C trace context of a call; None without a valid one."""
    for key, value in metadata or ():
        if key == "traceparent" and isinstance(value, str) and _TRACEPARENT.match(value):
            return value
    return None
