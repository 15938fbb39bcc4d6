"""A definition of 20 MiB may hold millions of parts: looking at each takes longer than a lease."""

from __future__ import annotations

import threading
from typing import Any

from stepgres.v1 import flow_pb2
from stepgres_service.api.convert_flows import FlowLimits, flow_spec
from stepgres_service.api.fields import Fields
from stepgres_service.errors import Reason

_LIMITS = FlowLimits(max_params_bytes=64 << 10, max_steps=2000)


class _WhoReads(Fields):
    """Notes the threads in which faults are found."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def add(self, *fault: Any) -> None:
        self.threads.add(threading.get_ident())
        super().add(*fault)


async def test_of_too_many_steps_none_is_read() -> None:
    request = flow_pb2.CreateFlowRequest(slug="f", steps=[flow_pb2.StepDefinition(slug="a\0")] * 2001)
    fields = Fields()
    spec = await flow_spec(request, fields, _LIMITS)
    assert spec.steps == ()
    assert [(fault.path, fault.reason) for fault in fields.found] == [("steps", Reason.TOO_MANY_STEPS)]
    assert "2001 steps, at most 2000" in fields.found[0].message


async def test_a_large_flow_is_read_in_a_thread_and_a_small_one_at_once() -> None:
    for dependencies, is_here in ((10, True), (100_000, False)):
        step = flow_pb2.StepDefinition(slug="a\0", depends_on=["b"] * dependencies)
        fields = _WhoReads()
        spec = await flow_spec(flow_pb2.CreateFlowRequest(slug="f", steps=[step]), fields, _LIMITS)
        assert len(spec.steps[0].depends_on) == dependencies
        assert len(fields.threads) == 1
        assert (threading.get_ident() in fields.threads) == is_here
