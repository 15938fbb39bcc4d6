"""The table of unary calls: path on the wire, messages, and what a retry may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stepgres.v1 import flow_pb2, run_pb2, worker_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

Req = TypeVar("Req", bound="Message")
Res = TypeVar("Res", bound="Message")


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Req, Res]):
    """One unary call."""

    #: Path on the wire, `/stepgres.v1.FlowService/CreateFlow`.
    path: str
    #: Class of the request.
    request: type[Req]
    #: Class of the response.
    response: type[Res]
    #: True when a second call with the same request changes nothing more, so that it may be retried blindly.
    idempotent: bool = True

    @property
    def name(self) -> str:
        """Name of the method, `CreateFlow`."""
        return self.path.rpartition("/")[2]


_FLOW, _RUN, _WORKER = (f"/stepgres.v1.{name}Service/" for name in ("Flow", "Run", "Worker"))

CREATE_FLOW = Rpc(_FLOW + "CreateFlow", flow_pb2.CreateFlowRequest, flow_pb2.CreateFlowResponse)
VALIDATE_FLOW = Rpc(_FLOW + "ValidateFlow", flow_pb2.ValidateFlowRequest, flow_pb2.ValidateFlowResponse)
ADD_STEP = Rpc(_FLOW + "AddStep", flow_pb2.AddStepRequest, flow_pb2.AddStepResponse)
GET_FLOW = Rpc(_FLOW + "GetFlow", flow_pb2.GetFlowRequest, flow_pb2.GetFlowResponse)
LIST_FLOWS = Rpc(_FLOW + "ListFlows", flow_pb2.ListFlowsRequest, flow_pb2.ListFlowsResponse)
# A second DeleteFlow finds nothing, and might delete a flow that was created in between.
DELETE_FLOW = Rpc(_FLOW + "DeleteFlow", flow_pb2.DeleteFlowRequest, flow_pb2.DeleteFlowResponse, idempotent=False)
LIST_HANDLERS = Rpc(_FLOW + "ListHandlers", flow_pb2.ListHandlersRequest, flow_pb2.ListHandlersResponse)

# Idempotent with a key only: the client asks for the retry then.
START_RUN = Rpc(_RUN + "StartRun", run_pb2.StartRunRequest, run_pb2.StartRunResponse, idempotent=False)
START_RUNS = Rpc(_RUN + "StartRuns", run_pb2.StartRunsRequest, run_pb2.StartRunsResponse, idempotent=False)
GET_RUN = Rpc(_RUN + "GetRun", run_pb2.GetRunRequest, run_pb2.GetRunResponse)
LIST_RUNS = Rpc(_RUN + "ListRuns", run_pb2.ListRunsRequest, run_pb2.ListRunsResponse)
LIST_TASKS = Rpc(_RUN + "ListTasks", run_pb2.ListTasksRequest, run_pb2.ListTasksResponse)
GET_TASK = Rpc(_RUN + "GetTask", run_pb2.GetTaskRequest, run_pb2.GetTaskResponse)
CANCEL_RUN = Rpc(_RUN + "CancelRun", run_pb2.CancelRunRequest, run_pb2.CancelRunResponse)
RETRY_RUN = Rpc(_RUN + "RetryRun", run_pb2.RetryRunRequest, run_pb2.RetryRunResponse)
LIST_WORKERS = Rpc(_RUN + "ListWorkers", run_pb2.ListWorkersRequest, run_pb2.ListWorkersResponse)
LIST_QUEUES = Rpc(_RUN + "ListQueues", run_pb2.ListQueuesRequest, run_pb2.ListQueuesResponse)
WATCH_RUN_PATH = _RUN + "WatchRun"

GET_RUN_INPUT = Rpc(_WORKER + "GetRunInput", worker_pb2.GetRunInputRequest, worker_pb2.GetRunInputResponse)
WORK_PATH = _WORKER + "Work"

AnyRpc = Rpc[Any, Any]
