"""Each fix stands for itself, and all of them together leave nothing that another round has to correct."""

from __future__ import annotations

from stepgres_service.engine.checks import check_flow
from stepgres_service.engine.fixes import Fixer, combine
from stepgres_service.model import FlowSpec, StepSpec


def test_a_dependency_that_means_a_renamed_step_gets_the_new_name() -> None:
    spec = FlowSpec("f", (StepSpec("fetch it!"), StepSpec("parse", depends_on=("fetchx",))))
    fixer = Fixer(spec)
    renaming, correction = [fixer.fix(violation) for violation in check_flow(spec)]
    assert {"op": "replace", "path": "/steps/1/depends_on/0", "value": "fetch_it_"} in correction
    # Alone it must not name a step that is not there.
    assert renaming[0] == {"op": "add", "path": "/steps/0/slug", "value": "fetch_it_"} in correction
    assert combine([renaming, correction]) == correction
