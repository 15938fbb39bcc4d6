"""Every fault of `make sabotage` names a line that is there; planting them takes minutes, and this a moment."""

from __future__ import annotations

from tests.sabotage.__main__ import problem_of
from tests.sabotage.faults import FAULTS


def test_every_fault_names_a_line_that_its_file_has_once() -> None:
    assert [problem for fault in FAULTS if (problem := problem_of(fault))] == []
