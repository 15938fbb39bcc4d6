"""Plans as documents: the plan form that people write in files and models emit, its validation, and its repair."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from stepgres.v1 import common_pb2, flow_pb2, run_pb2

from . import _convert, _json
from ._documents import faults_of
from ._flow import Step
from ._models import Model

if TYPE_CHECKING:
    from ._models import FlowInfo, RunSpec

#: A plan: CreateFlowRequest as JSON with its original field names.
Plan = Mapping[str, Any]
#: An operation of a JSON Patch.
Operation = Mapping[str, Any]

_REASON_PREFIX = "ERROR_REASON_"
_STEP_TYPES = {"single": "STEP_TYPE_SINGLE", "map": "STEP_TYPE_MAP"}


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
            _change(owner, last, kind, operation.get("value"))
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


def validation(response: flow_pb2.ValidateFlowResponse) -> Validation:
    """The answer as it is shown."""
    return Validation(
        violations=tuple(map(_violation, response.violations)),
        warnings=tuple(map(_violation, response.warnings)),
        fix=_operations(response.fix),
        warning_fix=_operations(response.warning_fix),
    )


def _violation(message: flow_pb2.Violation) -> PlanViolation:
    reason = common_pb2.ErrorReason.Name(message.reason).removeprefix(_REASON_PREFIX)
    return PlanViolation(message.path, reason, message.message, message.hint, _operations(message.fix))


def _operations(patch: bytes) -> tuple[Operation, ...]:
    return tuple(_json.loads(patch)) if patch else ()
