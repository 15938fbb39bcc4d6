"""What a planted fault is, and the tests that several files of them name."""

from __future__ import annotations

from typing import NamedTuple

FENCE_TESTS = "tests/sql/record_results/test_each_result_gets_its_verdict.py"
FAILURE_TESTS = "tests/sql/fail_tasks/test_failures_are_retried_then_final.py"
SESSION_TESTS = "tests/sql/sessions/test_sessions_resume_close_and_expire.py"
STREAM_TESTS = "tests/integration/work/test_sessions_outlive_their_streams.py"
RESULT_TESTS = "tests/integration/work/test_results_are_fenced.py"


class Fault(NamedTuple):
    """One line of the product, replaced."""

    #: What the product does wrong with it.
    name: str
    #: Path in the repository.
    file: str
    #: The line as it is, without its indentation; the file has it exactly once.
    old: str
    #: What stands there instead.
    new: str
    #: The test that fails.
    test: str
