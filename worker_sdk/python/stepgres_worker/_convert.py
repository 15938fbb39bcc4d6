"""Between the messages of the wire and the values of `_models`; nothing else knows both."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, struct_pb2, timestamp_pb2

from stepgres.v1 import common_pb2, flow_pb2, run_pb2

from . import _json
from ._errors import FieldViolation, request_error
from ._flow import Flow, Step
from ._grpc import grpc
from ._models import (
    FlowInfo,
    HandlerInfo,
    QueueInfo,
    RunError,
    RunSnapshot,
    RunStatus,
    StartResult,
    StepInfo,
    StepSnapshot,
    StepStatus,
    TaskAttempt,
    TaskCounts,
    TaskSnapshot,
    TaskStatus,
    UnservedRoute,
    WorkerInfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from ._models import RunSpec

_RUN_STATUS = {common_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}"): status for status in RunStatus}
_STEP_STATUS = {common_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}"): status for status in StepStatus}
_TASK_STATUS = {common_pb2.TaskStatus.Value(f"TASK_STATUS_{status.name}"): status for status in TaskStatus}
_STEP_TYPE: dict[int, str] = {common_pb2.STEP_TYPE_SINGLE: "single", common_pb2.STEP_TYPE_MAP: "map"}
_STEP_TYPE_OF = {name: number for number, name in _STEP_TYPE.items()}
#: Names of google.rpc.Code, which an item of a batch carries as a number.
_CODES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def run_status_number(status: RunStatus | str | None) -> common_pb2.RunStatus.ValueType:
    """A status for a filter; None = any."""
    return common_pb2.RunStatus.Value(f"RUN_STATUS_{RunStatus(status).name if status else 'UNSPECIFIED'}")


def task_status_number(status: TaskStatus | str | None) -> common_pb2.TaskStatus.ValueType:
    """A status for a filter; None = any."""
    return common_pb2.TaskStatus.Value(f"TASK_STATUS_{TaskStatus(status).name if status else 'UNSPECIFIED'}")


def reason_name(number: int) -> str:
    """`INVALID_JSON` of a reason on the wire; one of a later version is told by its number."""
    known = common_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("ERROR_REASON_") if known else f"REASON_{number}"


def view_number(full: bool | None) -> common_pb2.View.ValueType:
    """A view: with payloads, without, or the call's own default."""
    if full is None:
        return common_pb2.VIEW_UNSPECIFIED
    return common_pb2.VIEW_FULL if full else common_pb2.VIEW_BASIC


def stamp_or_none(when: datetime.datetime | None) -> timestamp_pb2.Timestamp | None:
    """A point in time for a filter; one without a zone is local time."""
    if when is None:
        return None
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(when.astimezone(datetime.UTC))
    return stamp


def time_or_none(message: Message, field: str) -> datetime.datetime | None:
    """A timestamp field as UTC; None when it is not given."""
    if not message.HasField(field):
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=datetime.UTC)


def optional(message: Message, field: str) -> int | None:
    """An optional number; None when it is not given."""
    return getattr(message, field) if message.HasField(field) else None


def step_definition(step: Step) -> flow_pb2.StepDefinition:
    """A step as its author wrote it, for the wire."""
    definition = flow_pb2.StepDefinition(
        slug=step.slug,
        depends_on=step.depends_on,
        step_type=_STEP_TYPE_OF[step.step_type],  # type: ignore[arg-type]
        initial_tasks=step.initial_tasks,
        handler=step.handler,
        max_attempts=step.max_attempts,
        timeout_s=step.timeout_s,
        base_delay_s=step.base_delay_s,
        max_delay_s=step.max_delay_s,
        queue=step.queue,
    )
    if step.params:
        definition.params.CopyFrom(struct(step.params))
    return definition


def step_definitions(steps: Iterable[Step]) -> list[flow_pb2.StepDefinition]:
    """The steps of a flow, for the wire.

    Raises:
        TypeError: something else than steps.
    """
    given: Any = steps
    if isinstance(given, str | Step) or not isinstance(given, collections.abc.Iterable):
        raise TypeError(f"steps is {given!r}; it is a list of steps, such as [Step('fetch')]")
    found: list[Any] = list(given)
    for index, step in enumerate(found):
        if not isinstance(step, Step):
            raise TypeError(f"steps[{index}] is {step!r}; it is a Step, such as Step('fetch')")
    return [step_definition(step) for step in found]


def create_request(flow: Flow) -> flow_pb2.CreateFlowRequest:
    """A flow in code, for the wire.

    Raises:
        TypeError: something else than a Flow.
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"flow is {flow!r}; it is a Flow: to create one by its slug use create_flow")
    return flow_pb2.CreateFlowRequest(
        slug=flow.slug,
        steps=step_definitions(flow.steps),
        max_attempts=flow.max_attempts,
        timeout_s=flow.timeout_s,
        base_delay_s=flow.base_delay_s,
        max_delay_s=flow.max_delay_s,
        queue=flow.queue,
        new_version=flow.new_version,
    )


def struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a Struct; its numbers become doubles, so integers beyond 2^53 are refused."""
    message = struct_pb2.Struct()
    json_format.ParseDict(_checked(dict(value), "params"), message)
    return message


def _checked(value: Any, path: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        raise ValueError(f"{path}: {value} is beyond 2^53 and would lose digits; pass it as text")
    if isinstance(value, dict):
        return {key: _checked(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return value


def _integers(value: Any) -> Any:
    """Whole doubles of a Struct as the integers they were."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integers(item) for item in value]
    return value


def step_info(message: flow_pb2.Step) -> StepInfo:
    """A stored step."""
    definition = message.definition
    return StepInfo(
        slug=definition.slug,
        step_index=message.step_index,
        step_type=_STEP_TYPE.get(definition.step_type, "single"),
        depends_on=tuple(definition.depends_on),
        handler=definition.handler,
        params=_integers(json_format.MessageToDict(definition.params)),
        initial_tasks=optional(definition, "initial_tasks"),
        max_attempts=optional(definition, "max_attempts"),
        timeout_s=optional(definition, "timeout_s"),
        base_delay_s=optional(definition, "base_delay_s"),
        max_delay_s=optional(definition, "max_delay_s"),
        queue=definition.queue,
        create_time=time_or_none(message, "create_time"),
    )


def flow_info(message: flow_pb2.Flow, *, versions: Iterable[int] = (), created: bool = False) -> FlowInfo:
    """A stored flow."""
    return FlowInfo(
        slug=message.slug,
        version=message.version,
        latest_version=message.latest_version,
        versions=tuple(versions),
        created=created,
        max_attempts=message.max_attempts,
        timeout_s=message.timeout_s,
        base_delay_s=optional(message, "base_delay_s"),
        max_delay_s=optional(message, "max_delay_s"),
        queue=message.queue,
        step_count=message.step_count,
        steps=tuple(step_info(step) for step in message.steps),
        topological_order=tuple(message.topological_order),
        create_time=time_or_none(message, "create_time"),
    )


def handler_info(message: flow_pb2.HandlerInfo) -> HandlerInfo:
    """A handler of the catalogue."""
    return HandlerInfo(
        name=message.name,
        scope=message.scope,
        description=message.description,
        session_count=message.session_count,
        steps=tuple(message.steps),
        step_count=message.step_count,
        params_schema_json=message.params_schema or None,
        input_schema_json=message.input_schema or None,
        output_schema_json=message.output_schema or None,
    )


def worker_info(message: run_pb2.WorkerInfo) -> WorkerInfo:
    """A session of a worker."""
    return WorkerInfo(
        worker=message.worker,
        scopes=tuple(message.scopes),
        handlers=tuple(message.handlers),
        handler_count=message.handler_count,
        credits=message.credits,
        in_flight=message.in_flight,
        coordinator=message.coordinator,
        sdk=message.sdk,
        lag_ms=message.lag_ms,
        connect_time=time_or_none(message, "connect_time"),
        lease_time=time_or_none(message, "lease_time"),
        last_seen_time=time_or_none(message, "last_seen_time"),
    )


def queue_info(message: run_pb2.QueueInfo) -> QueueInfo:
    """A queue."""
    return QueueInfo(
        queue=message.queue,
        shared=message.shared,
        depth=message.depth,
        depth_is_estimate=message.depth_is_estimate,
        oldest_age_s=message.oldest_age_s,
        unserved_route_count=message.unserved_route_count,
        unserved_routes=tuple(UnservedRoute(r.scope, r.handler, r.task_count) for r in message.unserved_routes),
        unserved_steps=tuple(message.unserved_steps),
    )


def run_request(spec: RunSpec) -> run_pb2.StartRunRequest:
    """What to start, for the wire."""
    flow: Any = spec.flow
    if not isinstance(flow, str):
        hint = "; give a plan by name: plan=…" if isinstance(flow, collections.abc.Mapping | list | tuple) else ""
        raise TypeError(f"flow is {flow!r}; it is the slug of a flow, such as {getattr(flow, 'slug', 'etl')!r}{hint}")
    return run_pb2.StartRunRequest(
        flow=flow,
        version=spec.version,
        input=_json.encode_input(spec.input),
        idempotency_key=spec.idempotency_key or "",
        scope=spec.scope,
    )


def start_result(message: run_pb2.StartRunResult) -> StartResult:
    """What became of one item of a batch."""
    if not message.HasField("error"):
        return StartResult(message.run_id, message.created)
    error = message.error
    code = _CODES.get(error.code, "UNKNOWN")
    reason = reason_name(error.reason) if error.reason else ""
    violations = [FieldViolation(error.field, error.message, reason)] if error.field else []
    return StartResult("", False, request_error(code, error.message, reason=reason, violations=violations))


def step_snapshot(message: run_pb2.StepState) -> StepSnapshot:
    """A step of a run."""
    counts = message.counts
    return StepSnapshot(
        step=message.step,
        step_index=message.step_index,
        step_type=_STEP_TYPE.get(message.step_type, "single"),
        status=_STEP_STATUS.get(message.status, StepStatus.CREATED),
        counts=TaskCounts(optional(counts, "total"), counts.open, counts.completed, counts.failed, counts.cancelled),
        remaining_deps=message.remaining_deps,
        depends_on=tuple(message.depends_on),
        start_time=time_or_none(message, "start_time"),
        end_time=time_or_none(message, "end_time"),
        revision=message.revision,
        unserved=message.unserved,
        output_json=message.output or None,
    )


def run_snapshot(message: run_pb2.Run, *, cursor: str = "") -> RunSnapshot:
    """A run."""
    error = message.error
    return RunSnapshot(
        run_id=message.run_id,
        flow=message.flow,
        version=message.version,
        status=_RUN_STATUS.get(message.status, RunStatus.STARTED),
        scope=message.scope,
        idempotency_key=message.idempotency_key,
        revision=message.revision,
        step_count=message.step_count,
        remaining_steps=message.remaining_steps,
        steps={step.step: step_snapshot(step) for step in message.steps},
        error=RunError(error.step, error.task_index, error.code, error.message, error.attempt)
        if message.HasField("error")
        else None,
        start_time=time_or_none(message, "start_time"),
        end_time=time_or_none(message, "end_time"),
        cursor=cursor,
        input_json=message.input or None,
        output_json=message.output or None,
    )


def changed(base: RunSnapshot, change: run_pb2.RunChange, cursor: str) -> RunSnapshot:
    """A snapshot with a change merged in; a step that is already newer stays."""
    steps = dict(base.steps)
    for message in change.steps:
        known = steps.get(message.step)
        if known is None or known.revision <= message.revision:
            steps[message.step] = step_snapshot(message)
    newer = change.revision >= base.revision
    if newer:
        # Only runs that have not ended change: what an end before a retry left behind goes.
        base = dataclasses.replace(base, status=_RUN_STATUS.get(change.status, base.status), error=None, end_time=None)
    return dataclasses.replace(
        base,
        revision=max(base.revision, change.revision),
        steps=dict(sorted(steps.items(), key=lambda item: item[1].step_index)),
        remaining_steps=sum(step.status is not StepStatus.COMPLETED for step in steps.values()),
        cursor=cursor,
    )


def task_snapshot(message: run_pb2.Task) -> TaskSnapshot:
    """A task."""
    return TaskSnapshot(
        run_id=message.run_id,
        step=message.step,
        step_index=message.step_index,
        task_index=message.task_index,
        status=_TASK_STATUS.get(message.status, TaskStatus.QUEUED),
        attempt=message.attempt,
        lost_leases=message.lost_leases,
        worker=message.worker,
        create_time=time_or_none(message, "create_time"),
        start_time=time_or_none(message, "start_time"),
        end_time=time_or_none(message, "end_time"),
        available_time=time_or_none(message, "available_time"),
        progress=message.progress,
        progress_message=message.progress_message,
        attempts=tuple(
            TaskAttempt(
                item.attempt,
                item.code,
                item.message,
                item.details,
                item.worker,
                time_or_none(item, "start_time"),
                time_or_none(item, "end_time"),
            )
            for item in message.attempts
        ),
        input_json=message.input or None,
        output_json=message.output or None,
    )
