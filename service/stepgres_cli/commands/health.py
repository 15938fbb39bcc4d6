"""`stepgres health`: ask a coordinator whether it serves, for people, Docker and scripts."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from stepgres_cli.errors import CliError, Exit, unreachable, usage
from stepgres_cli.options import DEFAULT_TARGET, Output, OutputOption, Target, probe
from stepgres_cli.output import print_json

_SERVICES = ("stepgres.v1.FlowService", "stepgres.v1.RunService", "stepgres.v1.WorkerService")


def health(
    service: Annotated[
        str, typer.Option(help="Service to ask for, such as stepgres.v1.RunService.", show_default="the whole process")
    ] = "",
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Ask again until it serves, so long.")] = 0,
    target: Target = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say whether a coordinator serves: 0 it does, 1 it does not (yet, or any more), 5 nobody answers."""
    address = target or DEFAULT_TARGET
    status = _ask_until(address, service, wait)
    if output is not Output.TABLE:
        print_json({"target": address, "service": service, "status": status}, output)
    else:
        print(f"{address} {service or 'coordinator'}: {status.lower().replace('_', ' ')}")
    if status == "SERVICE_UNKNOWN":
        raise usage(f"--service: {service!r} is unknown; it is {', '.join(_SERVICES)}, or empty for the coordinator.")
    if status != "SERVING":
        raise typer.Exit(Exit.REFUSED)


def _ask_until(address: str, service: str, wait_s: float) -> str:
    """The first answer, or, with a wait, the first good one; at its end whatever was the last."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            status = _ask(address, service)
        except CliError:
            if time.monotonic() >= deadline:
                raise
        else:
            if status == "SERVING" or time.monotonic() >= deadline:
                return status
        time.sleep(0.1)


def _ask(address: str, service: str) -> str:
    """The status by the gRPC health protocol, `SERVING` or `NOT_SERVING`; `SERVICE_UNKNOWN` for a wrong name."""
    probe(address)
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped, unused-ignore]

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=5.0
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise unreachable(address, error.details() or error.code().name) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
