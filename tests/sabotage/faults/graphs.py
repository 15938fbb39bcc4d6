"""Counters, graphs and failures: which step starts when, and how runs end."""

from __future__ import annotations

from tests.sabotage.faults.fault import FAILURE_TESTS, RESULT_TESTS, SESSION_TESTS, STREAM_TESTS, Fault

_GRAPH_TESTS = "tests/sql/advance_runs/test_steps_start_when_their_dependencies_are_done.py"

FAULTS = (
    # counters and graphs
    Fault(
        "remaining_tasks counts batches",
        "migrations/1310_fn_complete_tasks.sql",
        "set remaining_tasks = s.remaining_tasks - c.task_count,",
        "set remaining_tasks = s.remaining_tasks - 1,",
        f"{_GRAPH_TESTS}::test_a_map_of_a_map_of_a_map_keeps_bytes_and_order",
    ),
    Fault(
        "remaining_deps counts batches",
        "migrations/1235_fn_advance_runs.sql",
        "set remaining_deps = s.remaining_deps - d.dep_count,",
        "set remaining_deps = s.remaining_deps - 1,",
        f"{_GRAPH_TESTS}::test_a_join_of_two_hundred_in_one_batch_starts_once",
    ),
    Fault(
        "a step starts with the first of its dependencies",
        "migrations/1235_fn_advance_runs.sql",
        "status = case when s.remaining_deps = d.dep_count then 'started' else s.status end,",
        "status = case when s.remaining_deps >= d.dep_count then 'started' else s.status end,",
        f"{_GRAPH_TESTS}::test_two_hundred_steps_join_in_one",
    ),
    Fault(
        "an empty map releases nobody",
        "migrations/1235_fn_advance_runs.sql",
        "p_done_run_ids := v_ready.done_run_ids;",
        "p_done_run_ids := null;",
        f"{_GRAPH_TESTS}::test_sixty_empty_maps_complete_in_the_transaction_that_starts_them",
    ),
    Fault(
        "a map loses the last item of a chunk",
        "migrations/1210_fn_expand_map.sql",
        "where e.position > v_from and e.position <= v_to;",
        "where e.position > v_from and e.position < v_to;",
        "tests/sql/maps/test_large_maps_are_written_in_chunks.py::test_the_outputs_come_in_the_order_of_the_items",
    ),
    Fault(
        "a large map calls for no expander",
        "migrations/1215_fn_start_map_steps.sql",
        "perform pg_notify('pgflow_expand', '');",
        "null;",
        "tests/sql/maps/test_large_maps_are_written_in_chunks.py::test_a_map_that_is_written_in_chunks_calls_for_the_expander",
    ),
    Fault(
        "a map sends all its messages at once",
        "migrations/1210_fn_expand_map.sql",
        "c_window constant int := 1000;",
        "c_window constant int := 1000000;",
        "tests/sql/maps/test_large_maps_are_written_in_chunks.py::test_the_first_window_is_there_at_once_and_the_rest_follows",
    ),
    Fault(
        "an array of another length than promised passes",
        "migrations/1215_fn_start_map_steps.sql",
        "when promised <> item_count then 'INITIAL_TASKS_MISMATCH'",
        "when false then 'INITIAL_TASKS_MISMATCH'",
        "tests/sql/fail_runs/test_a_refused_output_is_booked_on_its_producer.py::test_another_number_of_items_than_promised",
    ),
    Fault(
        "a dependent gets a map's outputs in the wrong order",
        "migrations/1300_fn_lease_tasks.sql",
        "select '[' || string_agg(o.output::text, ',' order by o.task_index) || ']'",
        "select '[' || string_agg(o.output::text, ',' order by o.task_index desc) || ']'",
        "tests/sql/maps/test_large_maps_are_written_in_chunks.py::test_the_outputs_come_in_the_order_of_the_items",
    ),
    Fault(
        "a run shows dependents that came after it",
        "service/stepgres_service/store/runs.sql",
        "where e.version_id = run.version_id and e.dep_index = s.step_index and e.step_index < run.step_count",
        "where e.version_id = run.version_id and e.dep_index = s.step_index",
        "tests/integration/runs/test_runs_are_read_and_listed.py::test_a_step_added_later_is_no_part_of_a_run",
    ),
    Fault(
        "a list loses outputs that got dependents after their run",
        "service/stepgres_service/store/runs.sql",
        "and e.step_index < r.step_count)",
        ")",
        "tests/integration/runs/test_runs_are_read_and_listed.py::test_a_step_added_later_is_no_part_of_a_run",
    ),
    Fault(
        "a change raises no revision",
        "migrations/1235_fn_advance_runs.sql",
        "set revision = r.revision + 1,",
        "set revision = r.revision,",
        "tests/integration/runs/test_watches_follow_runs.py::test_a_run_is_followed_from_its_start_to_its_end",
    ),
    # failures
    Fault(
        "the delay of a retry has no bound",
        "migrations/1315_fn_backoff_s.sql",
        "return least(coalesce(p_base_delay_s, 1) * 2.0 ^ least(p_failures - 1, 30), coalesce(p_max_delay_s, 300))",
        "return (coalesce(p_base_delay_s, 1) * 2.0 ^ least(p_failures - 1, 30))",
        f"{FAILURE_TESTS}::test_the_delay_doubles_with_jitter_up_to_its_maximum",
    ),
    Fault(
        "retries have no jitter",
        "migrations/1315_fn_backoff_s.sql",
        "* (0.5 + random() / 2);",
        "* 1;",
        f"{SESSION_TESTS}::test_a_second_loss_waits_so_that_tasks_part_company",
    ),
    Fault(
        "one attempt too many",
        "migrations/1325_fn_fail_tasks.sql",
        "coalesce(u.retryable, true) and t.failures + 1 < coalesce(s.max_attempts, v.max_attempts) as is_retry,",
        "coalesce(u.retryable, true) and t.failures + 1 <= coalesce(s.max_attempts, v.max_attempts) as is_retry,",
        f"{FAILURE_TESTS}::test_the_last_attempt_ends_the_run_and_says_why",
    ),
    Fault(
        "what is not retryable is retried",
        "migrations/1325_fn_fail_tasks.sql",
        "coalesce(u.retryable, true) and t.failures + 1 < coalesce(s.max_attempts, v.max_attempts) as is_retry,",
        "t.failures + 1 < coalesce(s.max_attempts, v.max_attempts) as is_retry,",
        f"{FAILURE_TESTS}::test_a_failure_that_is_final_ends_the_run_at_once",
    ),
    Fault(
        "the coordinator does not read non_retryable",
        "service/stepgres_service/api/worker_servicer.py",
        "retryable=not failed.non_retryable,",
        "retryable=True,",
        "tests/integration/sdk/test_the_five_snippets_of_the_design_run.py"
        "::test_4_failures_say_when_to_try_again_and_when_not",
    ),
    Fault(
        "retry_after is ignored",
        "migrations/1325_fn_fail_tasks.sql",
        "u.retry_after_ms / 1000.0,",
        "null::float8,",
        f"{FAILURE_TESTS}::test_the_workers_word_on_the_delay_counts",
    ),
    Fault(
        "a retry is sent before it is due",
        "migrations/1460_fn_promote_tasks.sql",
        "where t.available_at <= v_now and t.status = 'queued' and (t.run_id in (select unnest(v_run_ids))) is true",
        "where t.available_at is not null and t.status = 'queued' and (t.run_id in (select unnest(v_run_ids))) is true",
        "tests/sql/promote_tasks/test_retries_are_sent_when_due.py::test_of_the_retries_of_one_run_only_those_that_are_due_are_sent",
    ),
    Fault(
        "a retried run keeps its failures",
        "migrations/1352_fn_reopen_steps.sql",
        "set status = 'queued', failures = 0, lost_leases = 0, releases = 0, queued_at = v_now, completed_at = null",
        "set status = 'queued', lost_leases = 0, releases = 0, queued_at = v_now, completed_at = null",
        "tests/sql/retry_runs/test_a_run_goes_on_where_it_ended.py::test_a_failed_task_starts_again_with_all_its_attempts",
    ),
    Fault(
        "a retried run does its finished tasks again",
        "migrations/1352_fn_reopen_steps.sql",
        "where t.run_id = u.run_id and t.step_index = u.step_index and t.status in ('failed', 'cancelled');",
        "where t.run_id = u.run_id and t.step_index = u.step_index and t.status <> 'queued';",
        "tests/sql/retry_runs/test_a_run_goes_on_where_it_ended.py::test_nine_of_ten_outputs_of_a_map_stay",
    ),
    Fault(
        "the coordinator enforces no timeout",
        "service/stepgres_service/engine/timeouts.py",
        "overdue = [token for token, deadline in session.leases.items() if deadline <= now]",
        "overdue = [token for token, deadline in session.leases.items() if deadline <= 0]",
        f"{STREAM_TESTS}::test_the_coordinator_times_out_what_its_worker_does_not",
    ),
    Fault(
        "the worker enforces no timeout",
        "worker_sdk/python/stepgres_worker/_deadlines.py",
        "self._expire(execution)",
        "pass",
        "tests/unit/sdk/test_tasks_can_be_stopped.py::test_a_coroutine_is_cancelled_at_its_deadline",
    ),
    Fault(
        "a resume begins the timeout anew",
        "service/stepgres_service/engine/registry.py",
        "session.leases[token] = now + timeout_s - lease.age_s + TIMEOUT_SLACK_S",
        "session.leases[token] = now + timeout_s + TIMEOUT_SLACK_S",
        f"{STREAM_TESTS}::test_a_resume_does_not_begin_the_timeout_anew",
    ),
    Fault(
        "an output may have any size",
        "service/stepgres_service/api/worker_servicer.py",
        "if len(output) > limit:",
        "if not output:",
        f"{RESULT_TESTS}::test_one_bad_item_fails_its_task_and_nobody_elses",
    ),
    Fault(
        "an output may hold U+0000",
        "service/stepgres_service/api/worker_servicer.py",
        'if b"\\\\u0000" not in output:',
        "if output:",
        f"{RESULT_TESTS}::test_one_bad_item_fails_its_task_and_nobody_elses",
    ),
    Fault(
        "a map's outputs may have any size",
        "migrations/1310_fn_complete_tasks.sql",
        "and not (s.is_map and s.output_bytes + c.output_bytes > p_max_output_bytes) then 'completed'",
        "then 'completed'",
        "tests/sql/maps/test_large_maps_are_written_in_chunks.py::test_the_output_that_crosses_the_limit_of_a_map_fails_its_task",
    ),
)
