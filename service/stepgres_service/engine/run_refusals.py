"""Why a run is refused, in the words for its caller."""

from __future__ import annotations

from uuid import UUID

from stepgres_service.engine.checks import is_plan
from stepgres_service.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    StepgresError,
    Unavailable,
    Violation,
)
from stepgres_service.store.flows import flow_not_found
from stepgres_service.store.runs import MAX_RESPONSE_BYTES, RunStart, StartVerdict

_ARTICLES = {"object": "an object", "array": "an array", "null": "null"}


def start_refusal(start: RunStart, verdict: StartVerdict) -> StepgresError:
    """The error for an item that start_runs refused.

    Args:
        start: the item.
        verdict: neither `created` nor `existing`.
    """
    match verdict.verdict:
        case "unknown_flow" if start.plan is not None:
            return Unavailable(
                f"the plan was removed as often as it was stored ({start.flow}); try again",
                reason=Reason.DATABASE_UNAVAILABLE,
                retry_after_s=1.0,
            )
        case "unknown_flow":
            return flow_not_found(start.flow)
        case "unknown_version":
            return NotFound(
                f'version: flow "{start.flow}" has no version {start.version}, its latest is {verdict.detail}; '
                "use that, or 0 for the latest",
                reason=Reason.FLOW_VERSION_NOT_FOUND,
                field="version",
            )
        case "key_reused":
            return AlreadyExists(
                f'idempotency_key: "{start.idempotency_key}" was used for {_key_owner(start, verdict)}, '
                f"by run {verdict.run_id}; use a new key, or send what was sent then",
                reason=Reason.IDEMPOTENCY_KEY_REUSED,
                field="idempotency_key",
                metadata={"run_id": str(verdict.run_id)},
            )
        case _:
            return InvalidArgument(_input_violation(verdict))


def _key_owner(start: RunStart, verdict: StartVerdict) -> str:
    """What a key was used for. The keys of plans are those of all plans."""
    if verdict.detail == "plan":
        return "another inline plan"
    owner = "this inline plan" if is_plan(start.flow) else f'flow "{start.flow}"'
    return f"{owner} with another {verdict.detail}"


def _input_violation(verdict: StartVerdict) -> Violation:
    step, found, expected = (verdict.detail or "? ? ?").split(" ")
    match verdict.verdict:
        case "type_violation":
            return Violation(
                "input",
                Reason.TYPE_VIOLATION,
                f'is {_ARTICLES.get(found, f"a {found}")}, but step "{step}" maps over it; send an array',
            )
        case "initial_tasks_mismatch":
            return Violation(
                "input",
                Reason.INITIAL_TASKS_MISMATCH,
                f'has {found} items, but map step "{step}" promises initial_tasks = {expected}; send {expected} items, '
                "or define the step without the promise",
            )
        case "too_many_items":
            return Violation(
                "input",
                Reason.TOO_MANY_ITEMS,
                f'has {found} items for map step "{step}", at most {expected} are allowed; split it into several runs, '
                "or raise STEPGRES_MAX_ITEMS",
            )
        case other:
            raise StepgresError(f"start_runs answered {other}: {verdict.detail}")


def run_not_found(run_id: UUID) -> NotFound:
    """No run has this id."""
    return NotFound(
        f"run_id: there is no run {run_id}; check the id, or list the runs to find it",
        reason=Reason.RUN_NOT_FOUND,
        field="run_id",
    )


def step_not_found(run_id: UUID, step: str, meant: str | None) -> NotFound:
    """A run has no such step; `meant` is the one that probably was."""
    remedy = f'did you mean "{meant}"?' if meant else "read the run to see its steps"
    return NotFound(f'step: run {run_id} has no step "{step}"; {remedy}', reason=Reason.STEP_NOT_FOUND, field="step")


def run_completed(run_id: UUID) -> FailedPrecondition:
    """A run that has completed cannot be retried."""
    return FailedPrecondition(
        f"run_id: run {run_id} has completed, nothing of it is left to retry; read its output, or start a new run",
        reason=Reason.RUN_COMPLETED,
        field="run_id",
    )


def payloads_too_large(size: int) -> InvalidArgument:
    """The payloads of a run do not fit into a response."""
    return InvalidArgument(
        Violation(
            "view",
            Reason.PAYLOAD_TOO_LARGE,
            f"FULL needs {size} bytes for input and output, a response carries at most {MAX_RESPONSE_BYTES}; use BASIC, "
            "and read the outputs with ListTasks, view FULL",
        )
    )
