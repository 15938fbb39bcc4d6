"""The fence: whose result is recorded, and once."""

from __future__ import annotations

from tests.sabotage.faults.fault import FENCE_TESTS, RESULT_TESTS, Fault

FAULTS = (
    Fault(
        "a completion needs no lease_seq",
        "migrations/1310_fn_complete_tasks.sql",
        "and t.lease_seq = u.lease_seq and t.session_id is not distinct from u.session_id and t.status = 'started'",
        "and t.session_id is not distinct from u.session_id and t.status = 'started'",
        f"{FENCE_TESTS}::test_a_guessed_token_changes_nothing",
    ),
    Fault(
        "a completion needs no session",
        "migrations/1310_fn_complete_tasks.sql",
        "and t.lease_seq = u.lease_seq and t.session_id is not distinct from u.session_id and t.status = 'started'",
        "and t.lease_seq = u.lease_seq and t.status = 'started'",
        f"{FENCE_TESTS}::test_another_sessions_token_changes_nothing",
    ),
    Fault(
        "a failure needs no lease_seq",
        "migrations/1325_fn_fail_tasks.sql",
        "and t.lease_seq = u.lease_seq",
        "and true",
        f"{FENCE_TESTS}::test_a_guessed_token_changes_nothing",
    ),
    Fault(
        "a hand-back needs no lease_seq",
        "migrations/1330_fn_release_tasks.sql",
        "and t.lease_seq = u.lease_seq",
        "and true",
        f"{FENCE_TESTS}::test_a_guessed_token_changes_nothing",
    ),
    Fault(
        "a doubled result is answered as recorded",
        "migrations/1340_fn_record_results.sql",
        "when t.lease_seq = u.lease_seq and t.status = 'completed' then 2",
        "when t.lease_seq = u.lease_seq and t.status = 'completed' then 1",
        f"{FENCE_TESTS}::test_a_result_sent_again_is_a_duplicate",
    ),
    Fault(
        "a failure twice in one batch counts twice",
        "migrations/1325_fn_fail_tasks.sql",
        "select distinct on (t.run_id, t.step_index, t.task_index)",
        "select",
        f"{FENCE_TESTS}::test_a_failure_twice_in_one_batch_burns_one_attempt",
    ),
    Fault(
        "failures go before completions",
        "migrations/1340_fn_record_results.sql",
        "if 1 = any(p_outcomes) then",
        "if 1 = any(p_outcomes) and not 2 = any(p_outcomes) then",
        f"{FENCE_TESTS}::test_a_completion_stands_before_a_failure_of_the_same_lease",
    ),
    Fault(
        "the attempt counts hand-outs",
        "migrations/1300_fn_lease_tasks.sql",
        "t.failures + 1 as attempt, t.item",
        "t.lease_seq as attempt, t.item",
        f"{FENCE_TESTS}::test_a_released_lease_is_over",
    ),
    Fault(
        "a stream answers for another session",
        "service/stepgres_service/api/worker_servicer.py",
        "if len(token) != TOKEN_BYTES or token[:16] != session_id:",
        "if len(token) != TOKEN_BYTES:",
        f"{RESULT_TESTS}::test_guessed_and_foreign_tokens_are_stale",
    ),
    Fault(
        "progress of a lease that is over is kept",
        "migrations/1475_fn_record_progress.sql",
        "and t.lease_seq = u.lease_seq",
        "and true",
        "tests/sql/record_progress/test_only_the_lease_that_is_held_reports.py::test_a_late_report_of_the_same_session_changes_nothing",
    ),
    Fault(
        "a lease that is over gets the run's input",
        "service/stepgres_service/store/tasks.sql",
        "and t.lease_seq = %s and t.session_id = %s and t.status = 'started'",
        "and %s::int is not null and t.session_id = %s and t.status = 'started'",
        "tests/integration/work/test_run_inputs_go_to_who_holds_the_task.py::test_a_lease_that_is_over_gets_no_input_though_the_task_is_held_again",
    ),
)
