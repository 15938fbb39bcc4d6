"""Requests of RunService -> values of the engine; what is wrong with one is told all at once, by field path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from stepgres.v1 import run_pb2
from stepgres_service.api.convert_flows import FlowLimits, flow_spec
from stepgres_service.api.convert_runs import RUN_STATUSES, TASK_STATUSES
from stepgres_service.api.fields import Fields
from stepgres_service.api.payloads import JsonChecker
from stepgres_service.engine.plans import Plan, PlanChecker
from stepgres_service.engine.runs import RunRequest
from stepgres_service.errors import InvalidArgument, Reason
from stepgres_service.model import RunStatus, TaskStatus
from stepgres_service.store.runs import RunFilter

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_MAX_NAME = 128  # characters of a scope and of an idempotency key
_MAX_REASON = 1000  # characters
_RUN_STATUSES: dict[int, RunStatus] = {number: status for status, number in RUN_STATUSES.items()}
_TASK_STATUSES: dict[int, TaskStatus] = {number: status for status, number in TASK_STATUSES.items()}


async def start_request(
    request: run_pb2.StartRunRequest,
    payloads: JsonChecker,
    plans: PlanChecker,
    *,
    max_input_bytes: int,
    limits: FlowLimits,
    traceparent: str | None,
) -> RunRequest:
    """What StartRun, or an item of StartRuns, asks for.

    Args:
        request: as it came.
        payloads: judges the input.
        plans: judges inline plans.
        max_input_bytes: largest input.
        limits: how large a plan may be.
        traceparent: W3C trace context of the call.

    Raises:
        InvalidArgument: with everything that is wrong.
        Unavailable: the database was needed to judge the input and is away.
    """
    fields = Fields()
    plan: Plan | None = None
    if request.WhichOneof("definition") == "plan":
        plan = await _plan(request, fields, plans, limits)
        flow = plan.slug if plan else ""
    else:
        flow = fields.definition(request.flow)
    data = request.input or b"{}"
    if not payloads.accepts(data, max_input_bytes):
        try:
            await payloads.check(data, "input", max_input_bytes)
        except InvalidArgument as refusal:
            fields.found.extend(refusal.violations)
    checked = RunRequest(
        flow=flow,
        version=fields.not_negative("version", request.version),
        input=data,
        idempotency_key=fields.text("idempotency_key", request.idempotency_key, _MAX_NAME) or None,
        scope=fields.text("scope", request.scope, _MAX_NAME),
        traceparent=traceparent,
        plan=plan.definition if plan else None,
    )
    fields.refuse()
    return checked


async def _plan(
    request: run_pb2.StartRunRequest, fields: Fields, plans: PlanChecker, limits: FlowLimits
) -> Plan | None:
    """The plan of a request; None when it is wrong, which goes into fields."""
    own = Fields()
    spec = await flow_spec(request.plan, own, limits, inline=True)
    if request.version > 0:
        fields.add("version", Reason.FIELD_INVALID, f"is {request.version}, but a plan has no versions; leave it out")
    checked = await plans.check(spec, own.found)
    if isinstance(checked, Plan):
        return checked
    fields.found += [replace(violation, path=f"plan.{violation.path}") for violation in checked]
    return None


def batch_size(request: run_pb2.StartRunsRequest, limit: int) -> None:
    """Refuses a batch of no items, or of too many."""
    fields = Fields()
    count = len(request.requests)
    if not count:
        fields.add("requests", Reason.FIELD_REQUIRED, f"is empty; send 1 to {limit} requests")
    elif count > limit:
        fields.add(
            "requests", Reason.FIELD_TOO_LONG, f"has {count} items, at most {limit} are allowed; send several calls"
        )
    fields.refuse()


def run_filter(request: run_pb2.ListRunsRequest, fields: Fields) -> RunFilter:
    """Which runs ListRuns asks for; faults go into fields."""
    if request.version and not request.flow:
        fields.add("version", Reason.FIELD_INVALID, f"is {request.version} without a flow; name the flow it belongs to")
    return RunFilter(
        flow=fields.flow("flow", request.flow, required=False) or None,
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
