"""Definitions: proto <-> model. Ranges and the graph are the engine's to check; here only what the model cannot hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from stepgres.v1 import common_pb2, flow_pb2
from stepgres_service.api.fields import Fields
from stepgres_service.api.payloads import has_nul_escape
from stepgres_service.engine.checks import check_step_count, topological_order
from stepgres_service.engine.fixes import Operation, combine
from stepgres_service.engine.flows import Validation
from stepgres_service.errors import Reason, Violation
from stepgres_service.model import Flow, FlowSpec, Step, StepSpec, StepType

_STEP_TYPES = {
    common_pb2.STEP_TYPE_UNSPECIFIED: StepType.SINGLE,
    common_pb2.STEP_TYPE_SINGLE: StepType.SINGLE,
    common_pb2.STEP_TYPE_MAP: StepType.MAP,
}
#: Bytes of a definition from which it is read in a thread: smaller ones take some 10 ms at most.
_LARGE_BYTES = 128 << 10
_STEP_TYPE_NUMBERS = {StepType.SINGLE: common_pb2.STEP_TYPE_SINGLE, StepType.MAP: common_pb2.STEP_TYPE_MAP}


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """How large a definition may be."""

    #: Bytes of a step's params.
    max_params_bytes: int
    #: Steps of a flow.
    max_steps: int


def _optional(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _texts(prefix: str, message: Message) -> Iterator[tuple[str, str]]:
    """Every text of a message itself, with its path."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_STRING:
            continue
        if field.is_repeated:
            yield from ((f"{prefix}{field.name}[{i}]", item) for i, item in enumerate(value))
        else:
            yield f"{prefix}{field.name}", value


def _refuse_nul(prefix: str, message: Message, fields: Fields) -> None:
    for path, text in _texts(prefix, message):
        if "\x00" in text:
            fields.add(path, Reason.NUL_CHARACTER, "holds the character U+0000; remove it")


async def flow_spec(
    request: flow_pb2.CreateFlowRequest, fields: Fields, limits: FlowLimits, *, inline: bool = False
) -> FlowSpec:
    """What CreateFlow asks for, or an inline plan; faults go to `fields`.

    Of a flow with too many steps, which is refused for that, none is read.
    """
    if inline and request.new_version:
        fields.add("new_version", Reason.FIELD_INVALID, "is true, but a plan has no versions; leave it out")
    too_many = list(check_step_count(len(request.steps), limits.max_steps))
    fields.found += too_many
    if too_many:
        return _flow_spec(request, (), fields)
    if request.ByteSize() < _LARGE_BYTES:
        return _flow_spec(request, _step_specs(request, fields, limits), fields)
    # Millions of dependencies take seconds: the streams of this coordinator must not wait for them.
    steps = await asyncio.to_thread(_step_specs, request, fields, limits)
    return _flow_spec(request, steps, fields)


def _flow_spec(request: flow_pb2.CreateFlowRequest, steps: tuple[StepSpec, ...], fields: Fields) -> FlowSpec:
    _refuse_nul("", request, fields)
    return FlowSpec(
        slug=request.slug,
        steps=steps,
        max_attempts=_optional(request, "max_attempts"),
        timeout_s=_optional(request, "timeout_s"),
        base_delay_s=_optional(request, "base_delay_s"),
        max_delay_s=_optional(request, "max_delay_s"),
        queue=request.queue or None,
    )


def _step_specs(request: flow_pb2.CreateFlowRequest, fields: Fields, limits: FlowLimits) -> tuple[StepSpec, ...]:
    return tuple(
        step_spec(step, f"steps[{index}].", fields, limits.max_params_bytes) for index, step in enumerate(request.steps)
    )


def step_spec(step: flow_pb2.StepDefinition, prefix: str, fields: Fields, max_params_bytes: int) -> StepSpec:
    """A step as its author wrote it; faults go to `fields`, with `prefix` in front of their paths."""
    _refuse_nul(prefix, step, fields)
    step_type = _STEP_TYPES.get(step.step_type)
    if step_type is None:
        fields.add(f"{prefix}step_type", Reason.FIELD_INVALID, f"is {step.step_type}; use SINGLE or MAP")
    return StepSpec(
        slug=step.slug,
        depends_on=tuple(step.depends_on),
        step_type=step_type or StepType.SINGLE,
        # Whether it may be given depends on a type that is told to be wrong already.
        initial_tasks=_optional(step, "initial_tasks") if step_type else None,
        handler=step.handler or None,
        params=_params(step.params, f"{prefix}params", fields, max_params_bytes) if step.HasField("params") else None,
        max_attempts=_optional(step, "max_attempts"),
        timeout_s=_optional(step, "timeout_s"),
        base_delay_s=_optional(step, "base_delay_s"),
        max_delay_s=_optional(step, "max_delay_s"),
        queue=step.queue or None,
    )


def _whole(value: Any) -> Any:
    """Struct knows only doubles; a whole number is meant as an integer."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _params(params: Struct, path: str, fields: Fields, max_bytes: int) -> str:
    try:
        text = json.dumps(
            _whole(json_format.MessageToDict(params)), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except (ValueError, json_format.SerializeToJsonError) as error:
        fields.add(path, Reason.INVALID_JSON, f"cannot be written as JSON ({error}); leave out NaN and infinities")
        return "{}"
    size = len(text.encode())
    if size > max_bytes:
        fields.add(
            path, Reason.PAYLOAD_TOO_LARGE, f"{size} bytes, at most {max_bytes} are allowed; pass a reference instead"
        )
    if has_nul_escape(text.encode()):
        fields.add(path, Reason.NUL_CHARACTER, "holds the character U+0000; remove it")
    return text


def _timestamp(at: datetime) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(at)
    return time


def step_to(step: Step) -> flow_pb2.Step:
    """A stored step."""
    spec = step.spec
    definition = flow_pb2.StepDefinition(
        slug=spec.slug,
        depends_on=spec.depends_on,
        step_type=_STEP_TYPE_NUMBERS[spec.step_type],
        initial_tasks=spec.initial_tasks,
        handler=spec.handler or "",
        max_attempts=spec.max_attempts,
        timeout_s=spec.timeout_s,
        base_delay_s=spec.base_delay_s,
        max_delay_s=spec.max_delay_s,
        queue=spec.queue or "",
    )
    definition.params.SetInParent()  # The resolved value is shown, {} too.
    definition.params.update(json.loads(spec.params or "{}"))
    return flow_pb2.Step(definition=definition, step_index=step.step_index, create_time=_timestamp(step.created_at))


def validation_to(found: Validation) -> flow_pb2.ValidateFlowResponse:
    """What is wrong with a definition, and doubtful."""
    return flow_pb2.ValidateFlowResponse(
        violations=[_violation_to(*item) for item in found.violations],
        warnings=[_violation_to(*item) for item in found.warnings],
        fix=_patch(combine(fix for _, fix in found.violations)),
        warning_fix=_patch(combine(fix for _, fix in found.warnings)),
    )


def _violation_to(violation: Violation, fix: Sequence[Operation]) -> flow_pb2.Violation:
    return flow_pb2.Violation(
        path=violation.path,
        reason=common_pb2.ErrorReason.Value(f"ERROR_REASON_{violation.reason}"),
        message=str(violation),
        hint=violation.hint,
        fix=_patch(fix),
    )


def _patch(operations: Sequence[Operation]) -> bytes:
    return json.dumps(operations, ensure_ascii=False).encode() if operations else b""


def flow_to(flow: Flow) -> flow_pb2.Flow:
    """A version of a flow."""
    spec = flow.spec
    return flow_pb2.Flow(
        slug=spec.slug,
        version=flow.version,
        latest_version=flow.latest_version,
        max_attempts=spec.max_attempts or 0,
        timeout_s=spec.timeout_s or 0,
        base_delay_s=spec.base_delay_s,
        max_delay_s=spec.max_delay_s,
        queue=spec.queue or "",
        steps=[step_to(step) for step in flow.steps],
        topological_order=[step.slug for step in topological_order([step.spec for step in flow.steps])],
        create_time=_timestamp(flow.created_at),
        step_count=flow.step_count,
    )


def flows_to(flows: Sequence[Flow], max_bytes: int) -> list[flow_pb2.Flow]:
    """As many of the flows, from the first, as fit; at least one."""
    page: list[flow_pb2.Flow] = []
    size = 0
    for flow in flows:
        converted = flow_to(flow)
        size += converted.ByteSize()
        if page and size > max_bytes:
            break
        page.append(converted)
    return page
