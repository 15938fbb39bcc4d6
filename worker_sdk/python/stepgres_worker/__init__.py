"""The Python SDK of stepgres: define flows, start and watch runs, serve handlers.

    from stepgres_worker import Client, Flow, Step, Worker

`Client` (blocking) and `AsyncClient` define and run; `Flow` makes steps of functions; `Worker` serves them.
`stepgres_worker.testing` has what users' unit tests need.
"""

from __future__ import annotations

from stepgres.v1.reasons import ErrorReason

from ._client import AsyncClient
from ._context import Context
from ._errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    ForkedError,
    InternalError,
    InvalidArgument,
    MissingHandlers,
    NotFound,
    PermissionDenied,
    RequestError,
    ResourceExhausted,
    RunCancelled,
    RunFailed,
    StepgresError,
    TaskError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WrongThreadError,
)
from ._flow import Flow, Step
from ._models import (
    FlowInfo,
    HandlerInfo,
    Page,
    QueueInfo,
    RunError,
    RunSnapshot,
    RunSpec,
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
from ._plans import PlanViolation, Validation, apply_patch
from ._run import AsyncRun
from ._sync import Client, Run
from ._version import __version__
from ._worker import Worker

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "AsyncRun",
    "Client",
    "Context",
    "DeadlineExceeded",
    "ErrorReason",
    "FailedPrecondition",
    "FieldViolation",
    "Flow",
    "FlowInfo",
    "ForkedError",
    "HandlerInfo",
    "InternalError",
    "InvalidArgument",
    "MissingHandlers",
    "NotFound",
    "Page",
    "PermissionDenied",
    "PlanViolation",
    "QueueInfo",
    "RequestError",
    "ResourceExhausted",
    "Run",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunSnapshot",
    "RunSpec",
    "RunStatus",
    "StartResult",
    "Step",
    "StepInfo",
    "StepSnapshot",
    "StepStatus",
    "StepgresError",
    "TaskAttempt",
    "TaskCounts",
    "TaskError",
    "TaskSnapshot",
    "TaskStatus",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnservedRoute",
    "Validation",
    "Worker",
    "WorkerInfo",
    "WrongThreadError",
    "__version__",
    "apply_patch",
]
