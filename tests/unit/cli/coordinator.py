"""A coordinator of a few lines, on a real port: answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from stepgres.v1 import flow_pb2_grpc, run_pb2_grpc


class Refusal(Exception):
    """What a fake rpc raises to answer with a status of the contract."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        details = [error_details_pb2.ErrorInfo(domain="stepgres", reason=reason)]
        if fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
                for field, text in fields.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        packed = [AnyMessage() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        self.status = status_pb2.Status(code=code.value[0], message=message, details=packed)


class FakeCoordinator:
    """Answers by rpc name; rpcs that a test does not set are UNIMPLEMENTED."""

    def __init__(self) -> None:
        #: By rpc name: a function of the request that returns a response, an iterator of them, or raises Refusal.
        self.answers: dict[str, Callable[[Any], Any]] = {}
        #: What was asked, in order.
        self.requests: list[Any] = []
        #: Its address.
        self.target = ""

    def servicer(self, base: type) -> Any:
        """A servicer with all methods of its generated base."""
        methods = [name for name in vars(base) if name[0].isupper()]
        return type("Fake", (base,), {name: self._method(name) for name in methods})()

    def _method(self, name: str) -> Callable[..., Any]:
        def call(_self: Any, request: Any, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            try:
                return self.answers[name](request)
            except Refusal as refusal:
                context.abort_with_status(rpc_status.to_status(refusal.status))
            except KeyError:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, name)

        def stream(_self: Any, request: Any, context: grpc.ServicerContext) -> Any:
            yield from call(_self, request, context)

        return stream if name == "WatchRun" else call


@contextmanager
def fake_coordinator() -> Iterator[FakeCoordinator]:
    fake = FakeCoordinator()
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    flow_pb2_grpc.add_FlowServiceServicer_to_server(fake.servicer(flow_pb2_grpc.FlowServiceServicer), server)
    run_pb2_grpc.add_RunServiceServicer_to_server(fake.servicer(run_pb2_grpc.RunServiceServicer), server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()
