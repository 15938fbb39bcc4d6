"""What a refusal says."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2


def details_of(error: grpc.aio.AioRpcError | None) -> status_pb2.Status:
    """The google.rpc.Status of a refusal."""
    assert error is not None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status()
            status.ParseFromString(value)
            return status
    raise AssertionError(f"no google.rpc.Status came with {error!r}")


def reason_of(error: grpc.aio.AioRpcError | None) -> str:
    """The reason in its ErrorInfo."""
    for detail in details_of(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "stepgres"
            return str(info.reason)
    raise AssertionError("no ErrorInfo")


def violations_of(error: grpc.aio.AioRpcError | None) -> dict[str, str]:
    """Path -> description of its BadRequest."""
    for detail in details_of(error).details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            return {violation.field: violation.description for violation in request.field_violations}
    return {}
