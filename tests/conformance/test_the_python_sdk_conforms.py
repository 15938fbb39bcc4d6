"""The Python SDK passes every point; a minimal worker passes what it must."""

from __future__ import annotations

import pytest

from stepgres_conformance.point import all_points
from tests.conformance.kit import PYTHON_WORKER, broken, judged, planted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_python_worker_passes_every_point() -> None:
    answer = judged(PYTHON_WORKER)
    assert broken(answer) == {}
    assert (answer["passed"], answer["skipped"]) == (len(all_points()), 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minimal_worker_that_resumes_nothing_passes_what_it_must() -> None:
    answer = judged(planted("never_resumes"), "--minimal", "--tasks", "500")
    assert broken(answer) == {}
    skipped = {point["id"] for point in answer["points"] if point["status"] == "skipped"}
    assert skipped == {point.id for point in all_points() if point.optional}


def test_some_points_of_the_python_worker() -> None:
    answer = judged(PYTHON_WORKER, "--only", "greeting numbers-exact slots-refill")
    assert {point["id"]: point["status"] for point in answer["points"]} == dict.fromkeys(
        ["hello-fields", "catalogue", "hello-first", "refused-for-good", "numbers-exact", "slots-refill"], "passed"
    )
