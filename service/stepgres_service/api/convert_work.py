"""Frames of the worker protocol <-> values of the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from stepgres.v1 import common_pb2, worker_pb2
from stepgres_service.api.schemas import Fault
from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.registry import Hello
from stepgres_service.engine.results import Verdict
from stepgres_service.engine.sessions import AckItem, DrainNotice, Knock, Outgoing, Session, Stop
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.errors import FailedPrecondition, InvalidArgument, Reason, Violation
from stepgres_service.model import StepType
from stepgres_service.store.sessions import ServedHandler
from stepgres_service.store.tasks import LeasedTask

#: The protocol version of proto/stepgres/v1/worker.proto.
PROTOCOL_VERSION = 1

_HANDLER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,259}\Z")
_MAX_HANDLERS = 10_000
#: More than a worker can hold, whatever was granted to it by coordinators with other settings.
_MAX_HELD_TOKENS = 200_000
#: More than any token of ours; those of an answer must fit into its frames.
_MAX_TOKEN_BYTES = 256
_STEP_TYPES = {StepType.SINGLE: common_pb2.STEP_TYPE_SINGLE, StepType.MAP: common_pb2.STEP_TYPE_MAP}


# ---------------------------------------------------------------------------------------------------- Hello


class _Checks:
    """Collects what is wrong with a Hello."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, path: str, reason: Reason, message: str) -> None:
        self.found.append(Violation(f"hello.{path}", reason, message))

    def text(self, path: str, value: str, limit: int) -> None:
        if "\x00" in value:
            self.add(path, Reason.NUL_CHARACTER, "the text holds the character U+0000; remove it")
        elif len(value) > limit:
            self.add(path, Reason.FIELD_TOO_LONG, f"{len(value)} characters, at most {limit} are allowed; shorten it")

    def schema(self, path: str, value: bytes, faults: Mapping[bytes, Fault]) -> str | None:
        fault = faults.get(value)
        if fault is None:
            return value.decode(errors="replace") or None
        self.add(path, *fault)
        return None


def refuse_crowded(frame: worker_pb2.Hello) -> None:
    """Refuses a Hello that lists more than any worker has, before anybody looks at each: that would take minutes, in
    which the coordinator does nothing else.

    Raises:
        InvalidArgument: it is one.
    """
    checks = _Checks()
    subscriptions, held = len(frame.subscriptions), len(frame.held_tokens)
    if subscriptions > _MAX_HANDLERS:
        checks.add(
            "subscriptions",
            Reason.FIELD_TOO_LONG,
            f"{subscriptions} subscriptions, at most {_MAX_HANDLERS} are allowed; list the handlers of a scope in one",
        )
    elif (handlers := sum(len(subscription.handlers) for subscription in frame.subscriptions)) > _MAX_HANDLERS:
        checks.add(
            "subscriptions",
            Reason.FIELD_TOO_LONG,
            f"{handlers} handlers, at most {_MAX_HANDLERS} are allowed; open another session for the rest",
        )
    if held > _MAX_HELD_TOKENS:
        checks.add(
            "held_tokens",
            Reason.FIELD_TOO_LONG,
            f"{held} tokens, at most {_MAX_HELD_TOKENS} are allowed; send those of tasks without an acknowledged result",
        )
    if checks.found:
        raise InvalidArgument(*checks.found)


def schemas_in(frame: worker_pb2.Hello) -> Iterator[bytes]:
    """Every schema of a Hello."""
    for subscription in frame.subscriptions:
        for handler in subscription.handlers:
            yield from filter(None, (handler.params_schema, handler.input_schema, handler.output_schema))


def hello_from(frame: worker_pb2.Hello, faults: Mapping[bytes, Fault]) -> Hello:
    """Checks a Hello and converts it.

    Args:
        frame: as it came, if it is not crowded.
        faults: what is wrong with each of its schemas.

    Raises:
        InvalidArgument: with everything that is wrong.
        FailedPrecondition: no protocol version is spoken by both sides.
    """
    if frame.min_protocol_version > PROTOCOL_VERSION or frame.max_protocol_version < PROTOCOL_VERSION:
        field = "hello.min" if frame.min_protocol_version > PROTOCOL_VERSION else "hello.max"
        raise FailedPrecondition(
            f"{field}_protocol_version: the worker speaks versions {frame.min_protocol_version} to "
            f"{frame.max_protocol_version}, this coordinator {PROTOCOL_VERSION}; use an SDK that speaks it",
            reason=Reason.PROTOCOL_VERSION,
            field=f"{field}_protocol_version",
        )
    checks = _Checks()
    if frame.min_protocol_version < 1:
        checks.add(
            "min_protocol_version",
            Reason.FIELD_OUT_OF_RANGE,
            f"is {frame.min_protocol_version}; send the oldest version that the worker speaks, 1 or more",
        )
    if not frame.worker:
        checks.add("worker", Reason.FIELD_REQUIRED, "is empty; name the worker, such as host and process id")
    checks.text("worker", frame.worker, 200)
    checks.text("sdk_language", frame.sdk_language, 64)
    checks.text("sdk_version", frame.sdk_version, 64)
    if len(frame.instance_id) != 16:
        checks.add("instance_id", Reason.FIELD_INVALID, f"has {len(frame.instance_id)} bytes; make 16 random bytes")
    if len(frame.session_id) not in (0, 16):
        checks.add("session_id", Reason.FIELD_INVALID, "is none of ours; send the one of Welcome, or leave it empty")
    if frame.reconnect_grace_ms < 0:
        checks.add("reconnect_grace_ms", Reason.FIELD_OUT_OF_RANGE, f"is {frame.reconnect_grace_ms}; use 0 or more")
    for number, token in enumerate(frame.held_tokens):
        refuse_long_token(f"hello.held_tokens[{number}]", token)
    handlers = _handlers_from(frame.subscriptions, checks, faults)
    if checks.found:
        raise InvalidArgument(*checks.found)
    return Hello(
        worker=frame.worker,
        instance_id=frame.instance_id,
        sdk=f"{frame.sdk_language}/{frame.sdk_version}",
        handlers=handlers,
        session_id=UUID(bytes=frame.session_id) if frame.session_id else None,
        held_tokens=tuple(frame.held_tokens),
        grace_ms=frame.reconnect_grace_ms,
    )


def refuse_long_token(path: str, token: bytes) -> None:
    """Refuses what nobody was given as a token and is too long to be named in an answer.

    Raises:
        InvalidArgument: it is.
    """
    if len(token) > _MAX_TOKEN_BYTES:
        raise InvalidArgument(
            Violation(path, Reason.FIELD_TOO_LONG, f"has {len(token)} bytes; send the token of a LeasedTask as it came")
        )


def _handlers_from(
    subscriptions: Sequence[worker_pb2.Subscription], checks: _Checks, faults: Mapping[bytes, Fault]
) -> tuple[ServedHandler, ...]:
    handlers: dict[tuple[str, str], ServedHandler] = {}
    for s, subscription in enumerate(subscriptions):
        checks.text(f"subscriptions[{s}].scope", subscription.scope, 128)
        for h, handler in enumerate(subscription.handlers):
            path = f"subscriptions[{s}].handlers[{h}]"
            if not _HANDLER.match(handler.name):
                checks.add(
                    f"{path}.name",
                    Reason.INVALID_HANDLER,
                    f'"{handler.name[:80]}" is no handler name; use letters, digits, _ . - (a letter or _ first), up '
                    "to 260 characters",
                )
            checks.text(f"{path}.description", handler.description, 8192)
            key = (subscription.scope, handler.name)
            if key in handlers:
                checks.add(f"{path}.name", Reason.FIELD_INVALID, f'"{handler.name}" is listed twice; list it once')
            handlers[key] = ServedHandler(
                *key,
                handler.description,
                checks.schema(f"{path}.params_schema", handler.params_schema, faults),
                checks.schema(f"{path}.input_schema", handler.input_schema, faults),
                checks.schema(f"{path}.output_schema", handler.output_schema, faults),
            )
    if not handlers:
        checks.add("subscriptions", Reason.FIELD_REQUIRED, "names no handler; list at least one that the worker serves")
    return tuple(handlers.values())


def welcome_to(session: Session, resumed: bool, coordinator: str, settings: EngineSettings) -> worker_pb2.WorkResponse:
    """The answer to Hello."""
    return worker_pb2.WorkResponse(
        welcome=worker_pb2.Welcome(
            session_id=session.id,
            resumed=resumed,
            protocol_version=PROTOCOL_VERSION,
            lease_ms=round(settings.lease_s * 1000),
            heartbeat_ms=round(settings.heartbeat_s * 1000),
            max_credits=session.max_credits,
            max_output_bytes=settings.max_output_bytes,
            max_frame_bytes=settings.max_frame_bytes,
            coordinator=coordinator,
        )
    )


# ---------------------------------------------------------------------------------------------------- frames


class FrameWriter:
    """Turns what waits for a stream into frames.

    What is the same for every task of a step is kept as a prepared message and copied: it is most of a LeasedTask.

    Args:
        definitions: knows the steps; those of tasks handed out are loaded.
        settings: sizes of frames.
    """

    def __init__(self, definitions: DefinitionCache, settings: EngineSettings) -> None:
        self._definitions = definitions
        self._settings = settings
        self._prepared: dict[tuple[int, int, str], worker_pb2.LeasedTask] = {}

    def frames(self, outgoing: Outgoing) -> Iterator[worker_pb2.WorkResponse]:
        """The frames in the order of writing, each within the limits."""
        if outgoing.acks:
            yield from self._ack_frames(outgoing.acks)
        if outgoing.tasks:
            yield from self._task_frames(outgoing.tasks)
        for control in outgoing.control:
            yield from self._control_frames(control)

    def _ack_frames(self, acks: list[AckItem]) -> Iterator[worker_pb2.WorkResponse]:
        size = self._settings.max_frame_items
        for start in range(0, len(acks), size):
            frame = worker_pb2.WorkResponse()
            add = frame.ack_batch.acks.add
            for item in acks[start : start + size]:
                if item.verdict == Verdict.RECORDED:
                    add(token=item.token, verdict=worker_pb2.ACK_VERDICT_RECORDED)
                else:
                    add(
                        token=item.token,
                        verdict=worker_pb2.AckVerdict.ValueType(item.verdict),
                        reason=common_pb2.ErrorReason.Value(f"ERROR_REASON_{item.reason or 'UNSPECIFIED'}"),
                        message=item.message,
                        retry_after_ms=item.retry_after_ms,
                    )
            yield frame

    def _task_frames(self, tasks: list[tuple[bytes, LeasedTask]]) -> Iterator[worker_pb2.WorkResponse]:
        frame, size = worker_pb2.WorkResponse(), 0
        batch = frame.task_batch.tasks
        max_bytes, max_items = self._settings.max_frame_bytes, self._settings.max_frame_items
        for token, leased in tasks:
            prepared = self._prepared.get((leased.version_id, leased.step_index, leased.scope)) or self._prepare(leased)
            weight = len(leased.input) + 300
            if batch and (size + weight > max_bytes or len(batch) >= max_items):
                yield frame
                frame, size = worker_pb2.WorkResponse(), 0
                batch = frame.task_batch.tasks
            size += weight
            task = batch.add()
            task.CopyFrom(prepared)
            task.token = token
            task.run_id = leased.run_id
            task.input = leased.input
            task.attempt = leased.attempt
            if leased.task_index:
                task.task_index = leased.task_index
            if leased.traceparent:
                task.traceparent = leased.traceparent
        yield frame

    def _prepare(self, leased: LeasedTask) -> worker_pb2.LeasedTask:
        flow = self._definitions.get(leased.version_id, leased.step_index)
        if flow is None:
            raise LookupError(f"version {leased.version_id} is not loaded")
        step = flow.steps[leased.step_index]
        params = step.spec.params or "{}"
        prepared = worker_pb2.LeasedTask(
            flow=flow.spec.slug,
            version=flow.version,
            step=step.spec.slug,
            handler=step.spec.handler or "",
            params=b"" if params == "{}" else params.encode(),
            timeout_s=flow.timeout_of(step),
            step_type=_STEP_TYPES[step.spec.step_type],
            scope=leased.scope,
        )
        if len(self._prepared) > 10_000:
            self._prepared.clear()
        self._prepared[leased.version_id, leased.step_index, leased.scope] = prepared
        return prepared

    def _control_frames(self, control: Stop | DrainNotice | Knock) -> Iterator[worker_pb2.WorkResponse]:
        match control:
            case Knock():
                yield worker_pb2.WorkResponse(ping=worker_pb2.Ping())
            case DrainNotice(deadline_ms, reason):
                yield worker_pb2.WorkResponse(drain=worker_pb2.Drain(deadline_ms=deadline_ms, reason=reason))
            case Stop(tokens, reason, lost):
                size = self._settings.max_frame_items
                for start in range(0, len(tokens), size):
                    part = tokens[start : start + size]
                    if lost:
                        yield worker_pb2.WorkResponse(lease_lost=worker_pb2.LeaseLost(tokens=part, reason=reason))
                    else:
                        yield worker_pb2.WorkResponse(cancel_tasks=worker_pb2.CancelTasks(tokens=part, reason=reason))
