from __future__ import annotations

from typing import Any

import pytest

from stepgres.v1 import flow_pb2
from stepgres_worker import apply_patch
from stepgres_worker._documents import Reader
from stepgres_worker._patches import joined


def mended(step: dict[str, Any]) -> dict[str, Any]:
    """A step of a plan with every fix of its form applied."""
    plan, reader = {"steps": [step]}, Reader()
    reader.read(plan, flow_pb2.CreateFlowRequest.DESCRIPTOR)
    fixed: dict[str, Any] = apply_patch(plan, joined(o for fault in reader.faults for o in fault.fix))["steps"][0]
    return fixed


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"name": "a"}, {"slug": "a"}),
        ({"needs": "a, b"}, {"depends_on": ["a", "b"]}),
        ({"timeout_seconds": "2 min"}, {"timeout_s": 120}),
        ({"maxAttempts": " 3"}, {"maxAttempts": " 3"}),  # taken as it is
        ({"arguments": '{"x": 1}'}, {"params": {"x": 1}}),
        ({"type": "Map"}, {"step_type": "STEP_TYPE_MAP"}),
        ({"slug": "a", "title": "A", "_why": 1, "zzz": None}, {"slug": "a"}),
    ],
)
def test_what_keeps_the_meaning_is_mended(step: dict[str, Any], expected: dict[str, Any]) -> None:
    assert mended(step) == expected


@pytest.mark.parametrize(
    "step",
    [
        {"timeout_ms": 5000}, {"min_delay_s": 5}, {"delay_s": 5}, {"retries": 3}, {"max_retries": 3},
        {"params_schema": {}}, {"timeout_s": 1.5}, {"timeout_s": "soon"}, {"max_attempts": "3s"}, {"step_type": "loop"},
        {"params": "[1]"}, {"slug": True}, {"dependson": 1.5}, {"depends_on": ["a"], "needs": ["b"]},
    ],
)  # fmt: skip
def test_what_might_mean_something_else_is_left_to_its_author(step: dict[str, Any]) -> None:
    assert mended(step) == step
