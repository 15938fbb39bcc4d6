"""What the services answer, as frozen values: no message of the wire leaves the SDK."""

from __future__ import annotations

import datetime
import enum
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ._errors import RequestError
    from ._flow import Step

T = TypeVar("T")


class RunStatus(enum.StrEnum):
    """Where a run stands."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when the run has ended."""
        return self is not RunStatus.STARTED


class StepStatus(enum.StrEnum):
    """Where a step of a run stands."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class TaskStatus(enum.StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


def plain(value: Any) -> Any:
    """A value as JSON can hold it: payloads decoded, times in RFC 3339, private fields and unset payloads left out."""
    if isinstance(value, Model):
        out: dict[str, Any] = {}
        for item in fields(value):  # type: ignore[arg-type]
            content = getattr(value, item.name)
            if item.metadata.get("payload"):
                if content is not None:
                    out[item.name.removesuffix("_json")] = json.loads(content)
            else:
                out[item.name] = plain(content)
        return out
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


class Model:
    """What all answers can do."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers."""
        result: dict[str, Any] = plain(self)
        return result

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))


def payload(default: bytes | None = None) -> Any:
    """A field that holds JSON bytes; `to_dict` shows it decoded and without its suffix `_json`."""
    return field(default=default, metadata={"payload": True})


@dataclass(frozen=True, slots=True)
class TaskCounts(Model):
    """How many tasks a step has in each state."""

    #: All of them; None while unknown: a map whose dependency is not done.
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
class StepSnapshot(Model):
    """A step of a run."""

    #: Slug of the step.
    step: str
    #: Position in its flow, from 0.
    step_index: int
    #: `single` or `map`.
    step_type: str
    #: Where it stands.
    status: StepStatus
    #: Its tasks.
    counts: TaskCounts
    #: Dependencies that are not done yet.
    remaining_deps: int
    #: Slugs of the steps it depends on.
    depends_on: tuple[str, ...]
    #: When its dependencies were done; None before.
    start_time: datetime.datetime | None
    #: When it ended; None before.
    end_time: datetime.datetime | None
    #: The run's revision at its last change.
    revision: int
    #: Tasks are open and no connected worker serves them; `get_run` only.
    unserved: bool
    #: Output as JSON; None when it has none or it was not asked for.
    output_json: bytes | None = payload()

    @property
    def output(self) -> Any:
        """The output, decoded at each access; None when there is none."""
        return None if self.output_json is None else _json.loads(self.output_json)


@dataclass(frozen=True, slots=True)
class RunError(Model):
    """Why a run failed."""

    #: Slug of the step that failed.
    step: str
    #: Index of the task that failed.
    task_index: int
    #: Code of the failure.
    code: str
    #: What happened.
    message: str
    #: Attempt that failed, from 1.
    attempt: int


@dataclass(frozen=True, slots=True)
class RunSnapshot(Model):
    """A run as it stood at one moment."""

    #: UUID of the run.
    run_id: str
    #: Slug of the flow.
    flow: str
    #: Version of the flow.
    version: int
    #: Where it stands.
    status: RunStatus
    #: Scope of its tasks; empty for the common one.
    scope: str
    #: Key it was started with; empty without one.
    idempotency_key: str
    #: Raised by every change.
    revision: int
    #: Number of steps.
    step_count: int
    #: Steps that are not completed.
    remaining_steps: int
    #: Its steps by slug, in the order of creation; empty in lists.
    steps: Mapping[str, StepSnapshot]
    #: Why it failed or was cancelled; None otherwise.
    error: RunError | None
    #: When it started.
    start_time: datetime.datetime | None
    #: When it ended; None before.
    end_time: datetime.datetime | None
    #: Resumes a watch after this snapshot; empty outside of a watch.
    cursor: str = ""
    #: Input as JSON; None when it was not asked for.
    input_json: bytes | None = payload()
    #: Output as JSON; None when it has none or it was not asked for.
    output_json: bytes | None = payload()

    @property
    def input(self) -> Any:
        """The input, decoded at each access; None when it was not asked for."""
        return None if self.input_json is None else _json.loads(self.input_json)

    @property
    def output(self) -> Any:
        """The output `{leaf slug: output}`, decoded at each access; None when there is none."""
        return None if self.output_json is None else _json.loads(self.output_json)


@dataclass(frozen=True, slots=True)
class TaskAttempt(Model):
    """One try of a task that ended."""

    #: From 1; a lost lease shares its number with the try that follows.
    attempt: int
    #: Code of its failure; empty when it completed.
    code: str
    #: Message of its failure.
    message: str
    #: Details such as the end of a traceback.
    details: str
    #: Name of the worker.
    worker: str
    #: When it was handed out.
    start_time: datetime.datetime | None
    #: When it ended.
    end_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class TaskSnapshot(Model):
    """A task of a run."""

    #: UUID of the run.
    run_id: str
    #: Slug of the step.
    step: str
    #: Position of the step in its flow, from 0.
    step_index: int
    #: 0 for a single step, the element's index for a map.
    task_index: int
    #: Where it stands.
    status: TaskStatus
    #: The attempt that is under way, comes next, or was the last, from 1.
    attempt: int
    #: Leases lost with a worker; they burn no attempt.
    lost_leases: int
    #: Worker that has it, or had it last; empty before.
    worker: str
    #: When it was created.
    create_time: datetime.datetime | None
    #: When it was last handed out; None before.
    start_time: datetime.datetime | None
    #: When it ended; None before.
    end_time: datetime.datetime | None
    #: When a waiting retry becomes runnable; None when it does not wait.
    available_time: datetime.datetime | None
    #: 0 to 1, as the handler last reported.
    progress: float
    #: What the handler last reported.
    progress_message: str
    #: Tries that ended, oldest first; `get_task` only.
    attempts: tuple[TaskAttempt, ...] = ()
    #: Input as JSON; None when it was not asked for.
    input_json: bytes | None = payload()
    #: Output as JSON; None when it has none or it was not asked for.
    output_json: bytes | None = payload()

    @property
    def input(self) -> Any:
        """The input, decoded at each access; None when it was not asked for."""
        return None if self.input_json is None else _json.loads(self.input_json)

    @property
    def output(self) -> Any:
        """The output, decoded at each access; None when there is none."""
        return None if self.output_json is None else _json.loads(self.output_json)


@dataclass(frozen=True, slots=True)
class StepInfo(Model):
    """A step of a stored flow; None = the flow's value."""

    #: Slug of the step.
    slug: str
    #: Position in the order of creation, from 0.
    step_index: int
    #: `single` or `map`.
    step_type: str
    #: Slugs of the steps it depends on.
    depends_on: tuple[str, ...]
    #: Handler that executes it.
    handler: str
    #: Its constants.
    params: Mapping[str, Any]
    #: Promised number of items of a map.
    initial_tasks: int | None
    #: Failures and timeouts until a task fails for good.
    max_attempts: int | None
    #: Seconds an attempt may take.
    timeout_s: int | None
    #: Seconds before the first retry.
    base_delay_s: int | None
    #: Longest delay between retries in seconds.
    max_delay_s: int | None
    #: Shared queue; empty = the flow's.
    queue: str
    #: When it was added.
    create_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class FlowInfo(Model):
    """One version of a stored flow."""

    #: Slug of the flow.
    slug: str
    #: This version, from 1.
    version: int
    #: The newest version.
    latest_version: int
    #: Every version, ascending; `get_flow` only.
    versions: tuple[int, ...]
    #: False when it existed already; `create_flow` only.
    created: bool
    #: Attempts of steps that name none.
    max_attempts: int
    #: Seconds per attempt of steps that name none.
    timeout_s: int
    #: Seconds before the first retry of steps that name none; None = the server's default.
    base_delay_s: int | None
    #: Longest retry delay in seconds of steps that name none; None = the server's default.
    max_delay_s: int | None
    #: Shared queue; empty = one of its own.
    queue: str
    #: Number of steps.
    step_count: int
    #: The steps in the order of creation; empty in lists.
    steps: tuple[StepInfo, ...]
    #: Step slugs, every step after its dependencies; empty in lists.
    topological_order: tuple[str, ...]
    #: When this version was created.
    create_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class HandlerInfo(Model):
    """A handler that workers serve now, in one scope."""

    #: Name that steps refer to.
    name: str
    #: Scope in which it is served; empty = the common one.
    scope: str
    #: From the worker that connected last, as are the schemas; empty = unknown.
    description: str
    #: Sessions that serve it.
    session_count: int
    #: The first 100 steps that use it, as `<flow>.<step>`.
    steps: tuple[str, ...]
    #: Number of such steps, counted up to 10,000.
    step_count: int
    #: JSON Schema of the step's params, as it was sent; None = unknown.
    params_schema_json: bytes | None = payload()
    #: JSON Schema of the input, as it was sent; None = unknown.
    input_schema_json: bytes | None = payload()
    #: JSON Schema of the output, as it was sent; None = unknown.
    output_schema_json: bytes | None = payload()

    @property
    def params_schema(self) -> Mapping[str, Any] | None:
        """JSON Schema of the step's params; None = unknown."""
        return None if self.params_schema_json is None else _json.loads(self.params_schema_json)

    @property
    def input_schema(self) -> Mapping[str, Any] | None:
        """JSON Schema of the input; None = unknown."""
        return None if self.input_schema_json is None else _json.loads(self.input_schema_json)

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """JSON Schema of the output; None = unknown."""
        return None if self.output_schema_json is None else _json.loads(self.output_schema_json)


@dataclass(frozen=True, slots=True)
class WorkerInfo(Model):
    """A session of a worker."""

    #: The worker's name; two may bear the same.
    worker: str
    #: The first 100 scopes it subscribes in; empty text = the common one.
    scopes: tuple[str, ...]
    #: The first 100 handlers it serves.
    handlers: tuple[str, ...]
    #: Number of different handlers.
    handler_count: int
    #: Tasks it asked for and did not get yet, as of the last renewal: up to a heartbeat period ago.
    credits: int
    #: Tasks it has.
    in_flight: int
    #: Id of the coordinator that holds its stream.
    coordinator: str
    #: SDK language and version.
    sdk: str
    #: Milliseconds since `last_seen_time`.
    lag_ms: int
    #: When the session was opened.
    connect_time: datetime.datetime | None
    #: Until when its leases hold without a renewal.
    lease_time: datetime.datetime | None
    #: When its last frame came, as of the last renewal.
    last_seen_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class UnservedRoute(Model):
    """A handler in a scope that tasks wait for and no session serves."""

    #: Scope of the runs; empty = the common one.
    scope: str
    #: Handler that is missing.
    handler: str
    #: Tasks that wait for it, counted up to 1,000.
    task_count: int


@dataclass(frozen=True, slots=True)
class QueueInfo(Model):
    """A queue of runnable tasks."""

    #: Name of a shared queue, or slug of the flow that owns it.
    queue: str
    #: True for a queue that flows share by its name.
    shared: bool
    #: Runnable tasks: counted up to 10,000, estimated beyond.
    depth: int
    #: `depth` is an estimate.
    depth_is_estimate: bool
    #: Seconds since the oldest became runnable; 0 when empty.
    oldest_age_s: int
    #: Number of routes with tasks that no session serves.
    unserved_route_count: int
    #: The first 20 of them.
    unserved_routes: tuple[UnservedRoute, ...]
    #: Steps of their oldest tasks, as `<flow>.<step>`.
    unserved_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to start, for `start_runs`: a flow, or a plan that comes along."""

    #: Slug of the flow; empty for a plan.
    flow: str = ""
    #: Input; `bytes` are JSON already, None is {}.
    input: Any = None
    #: Version of the flow; 0 = the latest.
    version: int = 0
    #: Up to 128 characters, unique per flow, and among the runs of all plans; None = none.
    idempotency_key: str | None = None
    #: Only workers of this scope get the tasks; empty = the common one.
    scope: str = ""
    #: A flow that is not stored under a name: its steps, or a document as in a flow file, without slug; None = `flow`.
    plan: Mapping[str, Any] | Iterable[Step] | None = None


@dataclass(frozen=True, slots=True)
class StartResult:
    """What became of one item of `start_runs`."""

    #: UUID of the run; empty when refused.
    run_id: str
    #: False when its idempotency key had started it before, or when refused.
    created: bool
    #: Why it was refused; None when it was not.
    error: RequestError | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; iterate over it."""

    #: What the page holds.
    items: tuple[T, ...]
    #: For the next page; empty on the last.
    next_page_token: str

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
