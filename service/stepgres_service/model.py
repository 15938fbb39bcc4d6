"""The nouns of the engine: frozen values without I/O, shared by store, engine and api.

Payloads are `str` or `bytes` holding JSON text and are never parsed here; points in time are aware datetimes from the
database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class StepType(StrEnum):
    """What a step does with its input."""

    SINGLE = "single"
    MAP = "map"


class RunStatus(StrEnum):
    """Where a run stands; all but STARTED are terminal."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when the run has ended."""
        return self is not RunStatus.STARTED


class StepStatus(StrEnum):
    """Where a step of a run stands."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class TaskStatus(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step as its author wrote it; None means the flow's value, then the server's default."""

    #: Name of the step, unique in its flow.
    slug: str
    #: Slugs of the steps whose outputs it needs.
    depends_on: tuple[str, ...] = ()
    #: Single or map.
    step_type: StepType = StepType.SINGLE
    #: Promised length of a map's array.
    initial_tasks: int | None = None
    #: Handler; None means `<flow>.<step>`.
    handler: str | None = None
    #: The step's constants: a JSON object as text; None means {}.
    params: str | None = None
    #: Failures and timeouts until the task fails for good, 1 to 1,000.
    max_attempts: int | None = None
    #: Seconds an attempt may take, 1 to 2,592,000.
    timeout_s: int | None = None
    #: Seconds before the first retry, 0 to 86,400.
    base_delay_s: int | None = None
    #: Longest retry delay in seconds, 0 to 604,800.
    max_delay_s: int | None = None
    #: Name of a shared queue.
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow as its author wrote it; None means the server's default."""

    #: Name of the flow.
    slug: str
    #: Its steps in any order.
    steps: tuple[StepSpec, ...] = ()
    #: Default of the steps; None means 3.
    max_attempts: int | None = None
    #: Default of the steps in seconds; None means 30.
    timeout_s: int | None = None
    #: Default of the steps in seconds; None means 1.
    base_delay_s: int | None = None
    #: Default of the steps in seconds; None means 300.
    max_delay_s: int | None = None
    #: Name of a shared queue; None means a queue of its own (or the server's default queue).
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it is stored: handler and params are resolved."""

    #: The author's words, with handler and params filled in.
    spec: StepSpec
    #: Position in the order of creation, from 0; a dependency always has the smaller one.
    step_index: int
    #: When it was added.
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Flow:
    """One version of a flow."""

    #: The author's words; `spec.steps` is empty, see `steps`; max_attempts and timeout_s are filled in.
    spec: FlowSpec
    #: Version, from 1.
    version: int
    #: Key of the version in the database.
    version_id: int
    #: The newest version of this flow.
    latest_version: int
    #: Its steps by index; empty when they were not asked for.
    steps: tuple[Step, ...]
    #: Number of steps.
    step_count: int
    #: When this version was created.
    created_at: datetime

    def timeout_of(self, step: Step) -> int:
        """Seconds an attempt of this step may take."""
        return step.spec.timeout_s or self.spec.timeout_s or 30


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Counts of a step's tasks."""

    #: Number of tasks; None while unknown.
    total: int | None
    #: Queued or leased.
    open: int
    #: Completed.
    completed: int
    #: Failed for good.
    failed: int
    #: Cancelled.
    cancelled: int


@dataclass(frozen=True, slots=True)
class StepState:
    """A step inside a run."""

    #: Slug of the step.
    step: str
    #: Its position in the flow.
    step_index: int
    #: Single or map.
    step_type: StepType
    #: Where it stands.
    status: StepStatus
    #: Its tasks.
    counts: TaskCounts
    #: Dependencies that are not done.
    remaining_deps: int
    #: The run's revision at the last change.
    revision: int
    #: When its dependencies were done.
    started_at: datetime | None = None
    #: When it ended.
    completed_at: datetime | None = None
    #: Slugs of its dependencies.
    depends_on: tuple[str, ...] = ()
    #: Output as JSON text when asked for and completed.
    output: str | None = None
    #: Tasks are open and no connected session serves the handler.
    unserved: bool = False


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed or was cancelled."""

    #: Slug of the step; empty for a cancel.
    step: str
    #: Index of the task.
    task_index: int
    #: Reason or the handler's code.
    code: str
    #: What happened.
    message: str
    #: Attempt, from 1; 0 for a cancel.
    attempt: int


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a flow version."""

    #: UUIDv7.
    run_id: UUID
    #: Slug of the flow.
    flow: str
    #: Version of the flow.
    version: int
    #: Where it stands.
    status: RunStatus
    #: Raised by each transaction that changes the run.
    revision: int
    #: Number of steps.
    step_count: int
    #: Steps that are not completed.
    remaining_steps: int
    #: When it started.
    started_at: datetime
    #: When it ended.
    completed_at: datetime | None = None
    #: Scope of its tasks.
    scope: str = ""
    #: Key it was started with.
    idempotency_key: str | None = None
    #: Why it failed.
    error: RunError | None = None
    #: Steps by index; empty when not asked for.
    steps: tuple[StepState, ...] = ()
    #: Input as JSON text when asked for.
    input: str | None = None
    #: Output as JSON text when asked for and completed.
    output: str | None = None


@dataclass(frozen=True, slots=True)
class TaskAttempt:
    """A try of a task that ended."""

    #: From 1.
    attempt: int
    #: Code of its failure; empty when it completed.
    code: str
    #: Message of its failure.
    message: str
    #: Details of its failure.
    details: str
    #: Worker that had it; empty when unknown.
    worker: str
    #: When it was handed out.
    started_at: datetime | None
    #: When it ended.
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work of a step."""

    #: The run.
    run_id: UUID
    #: Slug of the step.
    step: str
    #: Its position in the flow.
    step_index: int
    #: 0 for a single step, the element's index for a map.
    task_index: int
    #: Where it stands.
    status: TaskStatus
    #: Failures and timeouts so far, plus 1.
    attempt: int
    #: Leases lost with a worker.
    lost_leases: int
    #: Worker that has it or had it last; empty before.
    worker: str
    #: When it was created.
    queued_at: datetime
    #: When it was last handed out.
    started_at: datetime | None = None
    #: When it ended.
    completed_at: datetime | None = None
    #: When a waiting retry becomes runnable.
    available_at: datetime | None = None
    #: 0 to 1.
    progress: float = 0.0
    #: What the handler last reported.
    progress_message: str = ""
    #: Input as JSON text when asked for.
    input: str | None = None
    #: Output as JSON text when asked for and completed.
    output: str | None = None
    #: Tries that ended, oldest first, when asked for.
    attempts: tuple[TaskAttempt, ...] = field(default=())
