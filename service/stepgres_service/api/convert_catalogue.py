"""The catalogue <-> messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from stepgres.v1 import flow_pb2, run_pb2
from stepgres_service.store.catalogue import CatalogueHandler, CatalogueQueue, CatalogueWorker

#: Bytes of a page; with more it ends early, as its token says.
_MAX_PAGE_BYTES = 8 << 20


class _Sized(Protocol):
    def ByteSize(self) -> int: ...  # noqa: N802


_Message = TypeVar("_Message", bound=_Sized)


def fitting(messages: Iterable[_Message]) -> list[_Message]:
    """As many of the messages, from the first, as fit on a page; at least one."""
    page: list[_Message] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if page and size > _MAX_PAGE_BYTES:
            break
        page.append(message)
    return page


def handlers_to(handlers: Sequence[CatalogueHandler]) -> list[flow_pb2.HandlerInfo]:
    """Handlers, as many as fit."""
    return fitting(
        flow_pb2.HandlerInfo(
            name=handler.name,
            scope=handler.scope,
            description=handler.description,
            params_schema=(handler.params_schema or "").encode(),
            input_schema=(handler.input_schema or "").encode(),
            output_schema=(handler.output_schema or "").encode(),
            session_count=handler.session_count,
            steps=handler.steps,
            step_count=handler.step_count,
        )
        for handler in handlers
    )


def workers_to(workers: Sequence[CatalogueWorker]) -> list[run_pb2.WorkerInfo]:
    """Workers, as many as fit."""
    return fitting(_worker_to(worker) for worker in workers)


def _worker_to(worker: CatalogueWorker) -> run_pb2.WorkerInfo:
    message = run_pb2.WorkerInfo(
        worker=worker.worker,
        scopes=worker.scopes,
        handlers=worker.handlers,
        handler_count=worker.handler_count,
        credits=worker.credits,
        in_flight=worker.in_flight,
        coordinator=worker.coordinator,
        sdk=worker.sdk,
        lag_ms=worker.lag_ms,
    )
    message.connect_time.FromDatetime(worker.connected_at)
    message.lease_time.FromDatetime(worker.lease_until)
    message.last_seen_time.FromDatetime(worker.seen_at)
    return message


def queues_to(queues: Sequence[CatalogueQueue]) -> list[run_pb2.QueueInfo]:
    """Queues, as many as fit."""
    return fitting(
        run_pb2.QueueInfo(
            queue=queue.name,
            depth=queue.depth,
            depth_is_estimate=queue.depth_is_estimate,
            oldest_age_s=queue.oldest_age_s,
            shared=queue.shared,
            unserved_route_count=queue.unserved_count,
            unserved_routes=[
                run_pb2.UnservedRoute(scope=route.scope, handler=route.handler, task_count=route.task_count)
                for route in queue.unserved
            ],
            unserved_steps=queue.unserved_steps,
        )
        for queue in queues
    )
