"""Plans as documents: the plan form that people write in files and models emit, its validation, and its repair."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from stepgres.v1 import flow_pb2, run_pb2

from . import _convert, _json
from ._documents import Reader, faults_of
from ._flow import Step
from ._models import Model
from ._patches import Operation, apply_patch, first_of_each_place, joined

if TYPE_CHECKING:
    from ._models import FlowInfo, RunSpec

#: A plan: CreateFlowRequest as JSON with its original field names.
Plan = Mapping[str, Any]
#: Faults of form that are told of one plan.
_MAX_FAULTS = 1000

_STEP_TYPES = {"single": "STEP_TYPE_SINGLE", "map": "STEP_TYPE_MAP"}


__all__ = ["Operation", "PlanViolation", "Validation", "apply_patch"]


@dataclass(frozen=True, slots=True)
class PlanViolation(Model):
    """One thing that is wrong, or doubtful, in a plan."""

    #: Path in the plan, such as `steps[2].depends_on[0]`.
    path: str
    #: UPPER_SNAKE name, such as `UNKNOWN_DEPENDENCY`; docs/errors.md lists them.
    reason: str
    #: Path, value, what is wrong with it and what to do.
    message: str
    #: What to do, alone.
    hint: str
    #: JSON Patch that mends this alone; empty where the author must decide.
    fix: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Validation(Model):
    """What the coordinator says about a plan."""

    #: What `apply_flow` would be refused for; empty = the plan is valid.
    violations: tuple[PlanViolation, ...]
    #: What would be accepted but probably is not meant, such as a handler that nobody serves now.
    warnings: tuple[PlanViolation, ...]
    #: All fixes of the violations as one JSON Patch for `apply_patch`.
    fix: tuple[Operation, ...]
    #: All fixes of the warnings as one JSON Patch for `apply_patch`.
    warning_fix: tuple[Operation, ...]

    @property
    def ok(self) -> bool:
        """Whether the plan is valid."""
        return not self.violations


def plan_request(plan: Plan, path: str = "") -> flow_pb2.CreateFlowRequest:
    """A plan as the request that creates it. `map` and `single` are taken for the names of the contract, null for "not given".

    Args:
        plan: the document.
        path: where it stands in what its author sends, for messages.

    Raises:
        ValueError: fields are unknown or of the wrong type; the message has a line for each.
    """
    document = _without_nulls(plan)
    steps = document.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("step_type") in _STEP_TYPES:
            step["step_type"] = _STEP_TYPES[step["step_type"]]
    try:
        return json_format.ParseDict(document, flow_pb2.CreateFlowRequest())
    except json_format.ParseError as error:
        faults = list(faults_of(document, flow_pb2.CreateFlowRequest.DESCRIPTOR, path))
        raise ValueError("\n".join(faults) or f"plan: {error}; see `stepgres flow schema`") from None


def inline_plan(plan: Plan | Iterable[Step], path: str = "plan") -> flow_pb2.CreateFlowRequest:
    """A plan that comes with a run, for the wire.

    Args:
        plan: a document, or steps.
        path: where it stands in what its author sends, for messages.

    Raises:
        ValueError: fields are unknown or of the wrong type.
        TypeError: neither a document nor steps.
    """
    if isinstance(plan, Mapping):
        return plan_request(plan, path)
    given: Any = plan
    if isinstance(given, str | Step) or not isinstance(given, Iterable):
        raise TypeError(
            f"plan is {given!r}; it is a document, such as {{'steps': [{{'slug': 'fetch'}}]}}, or a list of steps, such "
            "as [Step('fetch')]"
        )
    return flow_pb2.CreateFlowRequest(steps=_convert.step_definitions(plan))


def inline_plan_info(plan: flow_pb2.CreateFlowRequest) -> FlowInfo:
    """A plan that comes with a run, as the server will store it; its slug is not known yet."""
    flow = flow_pb2.Flow(slug="(inline plan)", version=1, max_attempts=plan.max_attempts or 3)
    for step in plan.steps:
        definition = flow.steps.add().definition
        definition.CopyFrom(step)
        definition.handler = step.handler or step.slug
    return _convert.flow_info(flow)


def start_request(spec: RunSpec) -> run_pb2.StartRunRequest:
    """What to start, for the wire.

    Raises:
        TypeError: both a flow and a plan, or neither a document nor steps.
        ValueError: the plan has an unknown field, or one of the wrong type.
    """
    if spec.plan is None:
        return _convert.run_request(spec)
    if spec.flow:
        raise TypeError(f"flow is {spec.flow!r} and a plan is given; start one of them")
    request = _convert.run_request(replace(spec, plan=None))
    request.plan.CopyFrom(inline_plan(spec.plan))
    return request


def _without_nulls(plan: Plan) -> dict[str, Any]:
    """Nulls go, but for those inside of params, where they mean something."""
    document = {name: value for name, value in copy.deepcopy(dict(plan)).items() if value is not None}
    steps = document.get("steps")
    if isinstance(steps, Sequence) and not isinstance(steps, str):
        document["steps"] = [
            {name: value for name, value in step.items() if value is not None} if isinstance(step, dict) else step
            for step in steps
        ]
    return document


def readable(plan: Plan | Iterable[Step]) -> tuple[flow_pb2.CreateFlowRequest, Reader]:
    """What can be read of a plan that is to be validated, for the wire, and what is wrong with its form.

    Raises:
        TypeError: neither a document nor steps.
    """
    reader = Reader()
    if not isinstance(plan, Mapping):
        return inline_plan(plan), reader
    document = reader.read(plan, flow_pb2.CreateFlowRequest.DESCRIPTOR)
    return plan_request(document), reader


def validation(response: flow_pb2.ValidateFlowResponse, reader: Reader) -> Validation:
    """The coordinator's answer together with the faults of form, in the order of the document.

    Args:
        response: about the plan as it was read.
        reader: that has read it.
    """
    faults = reader.faults[:_MAX_FAULTS]
    violations = _answered(response.violations, reader)
    warnings = _answered(response.warnings, reader)
    told = [PlanViolation(f.path, f.reason, f.text, f.remedy.removeprefix("; "), f.fix) for f in faults]
    if not faults:
        fix = joined(reader.with_moves(_operations(response.fix)))
    else:
        # Of a place that two fixes set the first counts, but after what makes the plan readable.
        said = (_operations(v.fix) for v in response.violations if _stands(v, reader))
        fixes = first_of_each_place(operation for operations in said for operation in operations)
        fix = joined([*(o for fault in faults for o in fault.fix), *reader.with_moves(fixes)])
    return Validation(
        violations=tuple(sorted([*told, *violations], key=lambda v: _position(v.path))),
        warnings=tuple(warnings),
        fix=fix,
        warning_fix=joined(o for warning in warnings for o in warning.fix)
        if faults
        else joined(reader.with_moves(_operations(response.warning_fix))),
    )


def _answered(violations: Iterable[flow_pb2.Violation], reader: Reader) -> list[PlanViolation]:
    return [_violation(violation, reader) for violation in violations if _stands(violation, reader)]


def _stands(violation: flow_pb2.Violation, reader: Reader) -> bool:
    """Whether it is said of what the author wrote, and not of what stands in for something unreadable."""
    return not (reader.unread and (reader.hides(violation.path) or reader.placeholder in violation.message))


def _violation(message: flow_pb2.Violation, reader: Reader) -> PlanViolation:
    reason = _convert.reason_name(message.reason)
    fix = joined(reader.with_moves(_operations(message.fix)))
    return PlanViolation(message.path, reason, message.message, message.hint, fix)


def _position(path: str) -> tuple[int, ...]:
    """Sorts paths as a plan is read: its own fields, then step by step; within a step what came first stays first."""
    step = re.match(r"steps\[(\d+)\]", path)
    return (1, int(step[1])) if step else (0,)


def _operations(patch: bytes) -> tuple[Operation, ...]:
    return tuple(_json.loads(patch)) if patch else ()
