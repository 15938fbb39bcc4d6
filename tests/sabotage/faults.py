"""The faults: what somebody might get wrong in one line, and the test that must not let it pass."""

from __future__ import annotations

from typing import NamedTuple


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


FENCE_TESTS = "tests/sql/record_results/test_each_result_gets_its_verdict.py"
FAILURE_TESTS = "tests/sql/fail_tasks/test_failures_are_retried_then_final.py"
GRAPH_TESTS = "tests/sql/advance_runs/test_steps_start_when_their_dependencies_are_done.py"
SESSION_TESTS = "tests/sql/sessions/test_sessions_resume_close_and_expire.py"
STREAM_TESTS = "tests/integration/work/test_sessions_outlive_their_streams.py"
RESULT_TESTS = "tests/integration/work/test_results_are_fenced.py"
CREDIT_TESTS = "tests/integration/work/test_leases_follow_credits.py"
SDK_RESULT_TESTS = "tests/unit/sdk/test_results_survive_the_stream.py"

FAULTS = (
    # ------------------------------------------------------------------------------------------------ the fence
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
    # --------------------------------------------------------------------------------------- leases and queues
    Fault(
        "a lease waits for another",
        "migrations/1091_fn_take_statement.sql",
        "order by (q.message->>'k')::int, q.msg_id limit $3 for update skip locked",
        "order by (q.message->>'k')::int, q.msg_id limit $3 for update",
        "tests/sql/locks/test_nobody_deadlocks_with_a_lease.py::test_a_lease_under_way_is_passed_over_not_waited_for",
    ),
    Fault(
        "the tasks of a vanished worker go to the back of the line",
        "migrations/1405_fn_return_leases.sql",
        "v_task.zeros, v_task.losses, v_task.zeros, true);",
        "v_task.zeros, v_task.losses, v_task.zeros, false);",
        "tests/sql/leases/test_a_turn_that_was_lost_comes_first.py::test_tasks_of_a_session_that_vanished",
    ),
    Fault(
        "a failed task goes in front of the others",
        "migrations/1325_fn_fail_tasks.sql",
        "array_fill(0, array[cardinality(v_retry.run_ids)]), false",
        "array_fill(0, array[cardinality(v_retry.run_ids)]), true",
        "tests/sql/leases/test_a_turn_that_was_lost_comes_first.py::test_a_failed_task_lets_the_others_go_first",
    ),
    Fault(
        "a hand-out is not written down",
        "migrations/1300_fn_lease_tasks.sql",
        "group by u.session_item;",
        "group by u.session_item having false;",
        "tests/sql/sessions/test_sessions_resume_close_and_expire.py::test_a_resumed_session_keeps_what_it_lists_and_gives_back_the_rest",
    ),
    Fault(
        "what is held of a thin batch is forgotten",
        "migrations/1485_fn_leases_of_sessions.sql",
        "from thin",
        "from thin where false",
        "tests/sql/leases/test_the_account_of_a_session_stays_small.py::test_thin_batches_become_one",
    ),
    Fault(
        "the account of a session grows for ever",
        "migrations/1485_fn_leases_of_sessions.sql",
        "where h.entry_count >= 2 * coalesce(cardinality(h.run_ids), 0)",
        "where h.entry_count < 2 * coalesce(cardinality(h.run_ids), 0)",
        "tests/sql/leases/test_the_account_of_a_session_stays_small.py::test_nothing_is_left_of_what_is_over",
    ),
    Fault(
        "a leased task stays in its queue",
        "migrations/1091_fn_take_statement.sql",
        "gone as (delete from pgmq.q_pgflow_%1$s as q where q.msg_id = any(array(select msg_id from found)))",
        "gone as (delete from pgmq.q_pgflow_%1$s as q where false)",
        f"{FENCE_TESTS}::test_a_released_lease_is_over",
    ),
    Fault(
        "a cancel leaves messages in the queue",
        "migrations/1225_fn_end_open_work.sql",
        "where t.run_id = any(p_run_ids) and t.message_id is not null;",
        "where false;",
        f"{FAILURE_TESTS}::test_a_failure_ends_what_else_the_run_has_open",
    ),
    Fault(
        "a session gets tasks beyond its credits",
        "service/stepgres_service/engine/dispatch.py",
        "session.credits -= credits[position]",
        "pass",
        f"{CREDIT_TESTS}::test_no_task_comes_without_a_credit_and_never_more_than_granted",
    ),
    Fault(
        "what the poll saw is not used",
        "service/stepgres_service/engine/dispatch.py",
        "[self._from_ids.get(route_id, 0) for route_id in wakes],",
        "[0 for route_id in wakes],",
        "tests/unit/engine/test_leases_find_their_streams.py"
        "::test_leases_begin_a_margin_before_the_first_message_that_the_poll_saw_last",
    ),
    Fault(
        "leases never go back to what was committed late",
        "service/stepgres_service/engine/dispatch.py",
        "self._from_ids[route_id] = first_id - _LATE_IDS",
        "self._from_ids[route_id] = max(self._from_ids.get(route_id, 0), first_id - _LATE_IDS)",
        "tests/integration/engine/test_leases_begin_where_work_waits.py"
        "::test_a_task_that_is_committed_long_after_its_message_was_numbered_is_leased",
    ),
    Fault(
        "a lease steps over all that went before",
        "migrations/1091_fn_take_statement.sql",
        "where (q.message->>'k')::int between k.key and k.key and q.msg_id >= k.from_id",
        "where (q.message->>'k')::int between k.key and k.key",
        "tests/sql/plans/test_a_lease_costs_its_batch.py"
        "::test_what_went_before_costs_nothing_behind_the_first_that_waits",
    ),
    Fault(
        "credits of a failed lease are not given back",
        "service/stepgres_service/engine/dispatch.py",
        "session.grant(credits)",
        "pass",
        "tests/unit/engine/test_leases_find_their_streams.py"
        "::test_a_failed_lease_gives_its_credits_back_and_keeps_its_routes_hot",
    ),
    Fault(
        "scopes share their routes",
        "migrations/1240_fn_start_runs.sql",
        "on r.queue_id = s.queue_id and r.scope = v_scopes[c.item] and r.handler = s.handler",
        "on r.queue_id = s.queue_id and r.scope = '' and r.handler = s.handler",
        f"{CREDIT_TESTS}::test_a_scope_keeps_runs_to_the_sessions_that_subscribe_with_it",
    ),
    Fault(
        "a session that is over gets tasks",
        "migrations/1300_fn_lease_tasks.sql",
        "left join pgflow.sessions as s on s.session_id = u.session_id and s.closed_at is null;",
        "left join pgflow.sessions as s on s.session_id = u.session_id;",
        "tests/sql/sessions/test_two_connections_meet_at_a_session.py::test_a_session_that_is_over_gets_nothing_even_when_it_is_forgotten",
    ),
    Fault(
        "a task whose stream has gone is dropped",
        "service/stepgres_service/engine/dispatch.py",
        "undelivered.append((session, token))",
        "pass",
        "tests/unit/engine/test_leases_find_their_streams.py::test_tasks_for_a_stream_that_is_gone_are_named_and_its_credits_die",
    ),
    Fault(
        "new work is not announced",
        "migrations/1200_fn_send_tasks.sql",
        "perform pg_notify('pgflow_ready', v_routes);",
        "null;",
        "tests/integration/engine/test_the_database_goes_away.py::test_anybodys_notification_does_not_end_the_listening",
    ),
    Fault(
        "the end of a run is not announced",
        "migrations/1225_fn_end_open_work.sql",
        "perform pg_notify(",
        "perform concat(",
        "tests/integration/runs/test_cancel_run_is_idempotent.py::test_workers_of_another_coordinator_are_told_without_a_comparison",
    ),
    Fault(
        "workers are not told that a run has ended",
        "service/stepgres_service/engine/dispatch.py",
        'session.send_control(Stop(tokens, "the run has ended"))',
        "pass",
        f"{RESULT_TESTS}::test_a_result_after_the_cancel_is_stale_and_the_worker_was_told",
    ),
    # -------------------------------------------------------------------------------------- counters and graphs
    Fault(
        "remaining_tasks counts batches",
        "migrations/1310_fn_complete_tasks.sql",
        "set remaining_tasks = s.remaining_tasks - c.task_count,",
        "set remaining_tasks = s.remaining_tasks - 1,",
        f"{GRAPH_TESTS}::test_a_map_of_a_map_of_a_map_keeps_bytes_and_order",
    ),
    Fault(
        "remaining_deps counts batches",
        "migrations/1235_fn_advance_runs.sql",
        "set remaining_deps = s.remaining_deps - d.dep_count,",
        "set remaining_deps = s.remaining_deps - 1,",
        f"{GRAPH_TESTS}::test_a_join_of_two_hundred_in_one_batch_starts_once",
    ),
    Fault(
        "a step starts with the first of its dependencies",
        "migrations/1235_fn_advance_runs.sql",
        "status = case when s.remaining_deps = d.dep_count then 'started' else s.status end,",
        "status = case when s.remaining_deps >= d.dep_count then 'started' else s.status end,",
        f"{GRAPH_TESTS}::test_two_hundred_steps_join_in_one",
    ),
    Fault(
        "an empty map releases nobody",
        "migrations/1235_fn_advance_runs.sql",
        "p_done_run_ids := v_ready.done_run_ids;",
        "p_done_run_ids := null;",
        f"{GRAPH_TESTS}::test_sixty_empty_maps_complete_in_the_transaction_that_starts_them",
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
    # -------------------------------------------------------------------------------------------------- failures
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
    # -------------------------------------------------------------------------------------------------- sessions
    Fault(
        "any epoch may close a session",
        "migrations/1440_fn_close_sessions.sql",
        "where s.session_id = u.session_id and s.epoch = u.epoch and s.closed_at is null",
        "where s.session_id = u.session_id and s.closed_at is null",
        f"{SESSION_TESTS}::test_an_old_epoch_neither_renews_nor_closes",
    ),
    Fault(
        "every session is told that it was renewed",
        "migrations/1430_fn_renew_sessions.sql",
        "select session_id from asked;",
        "select unnest(p_session_ids);",
        f"{SESSION_TESTS}::test_an_old_epoch_neither_renews_nor_closes",
    ),
    Fault(
        "anybody may resume a session",
        "migrations/1420_fn_resume_session.sql",
        "where s.session_id = p_session_id and s.instance_hash = p_instance_hash and s.closed_at is null",
        "where s.session_id = p_session_id and s.closed_at is null",
        f"{SESSION_TESTS}::test_a_resume_needs_the_secret",
    ),
    Fault(
        "a Goodbye counts losses",
        "service/stepgres_service/engine/registry.py",
        'task = asyncio.create_task(self._close([session], lost=False), name="goodbye")',
        'task = asyncio.create_task(self._close([session], lost=True), name="goodbye")',
        f"{STREAM_TESTS}::test_goodbye_gives_tasks_back_at_once_and_counts_nothing",
    ),
    Fault(
        "a task may lose any number of workers",
        "migrations/1405_fn_return_leases.sql",
        "l.is_lost and t.lost_leases >= p_max_lost_leases as is_final,",
        "false as is_final,",
        "tests/sql/leases/test_lost_leases_part_company.py"
        "::test_the_first_loss_is_free_then_it_waits_and_the_fourth_is_the_end",
    ),
    Fault(
        "a broken stream has no grace",
        "service/stepgres_service/engine/registry.py",
        "await asyncio.sleep(session.grace_s)",
        "await asyncio.sleep(0)",
        f"{STREAM_TESTS}::test_a_resumed_session_keeps_what_it_lists_and_gives_back_the_rest",
    ),
    Fault(
        "the grace of Hello is ignored",
        "service/stepgres_service/engine/registry.py",
        "return min(hello.grace_ms or self._settings.reconnect_grace_ms, round(self._settings.lease_s * 1000))",
        "return min(self._settings.reconnect_grace_ms, round(self._settings.lease_s * 1000))",
        f"{STREAM_TESTS}::test_the_grace_is_what_hello_says_up_to_the_lease",
    ),
    Fault(
        "a resume tells of no lost lease",
        "service/stepgres_service/engine/registry.py",
        "lost = [token for token in hello.held_tokens if token not in session.leases]",
        "lost: list[bytes] = []",
        f"{STREAM_TESTS}::test_a_stranger_cannot_resume_a_session",
    ),
    Fault(
        "a Goodbye is forgotten while the database is away",
        "service/stepgres_service/engine/registry.py",
        "self._unclosed.extend(sessions)",
        "pass",
        "tests/integration/work/test_streams_of_one_session.py::test_a_goodbye_counts_no_loss_though_the_database_is_away",
    ),
    Fault(
        "a drain goes on leasing",
        "service/stepgres_service/engine/registry.py",
        "session.max_credits = 0",
        "pass",
        "tests/integration/server/test_a_coordinator_leaves.py"
        "::test_with_nowhere_to_go_a_worker_finishes_what_it_has_and_gets_no_more",
    ),
    Fault(
        "leases are not compared with the database",
        "service/stepgres_service/engine/renewals.py",
        "await self._compare([s for s in sessions if s.id in renewed])",
        "pass",
        "tests/integration/work/test_streams_under_strain.py::test_what_was_leased_and_never_delivered_goes_back",
    ),
    Fault(
        "living sessions are swept",
        "migrations/1450_fn_sweep_sessions.sql",
        "where closed_at is null and lease_until < v_now",
        "where closed_at is null",
        f"{SESSION_TESTS}::test_a_renewed_session_is_not_swept",
    ),
    Fault(
        "a lease that raced the end counts a loss",
        "migrations/1405_fn_return_leases.sql",
        "select p_lost and (t.session_id in (select unnest(p_uncounted_session_ids))) is not true as is_lost",
        "select p_lost as is_lost",
        "tests/sql/sessions/test_two_connections_meet_at_a_session.py::test_a_lease_that_raced_the_end_comes_back_and_is_no_loss",
    ),
    Fault(
        "a sweep needs no contact",
        "service/stepgres_service/engine/sweeper.py",
        "missing_s = self._settings.lease_s - self._contact.unbroken_s()",
        "missing_s = 0.0",
        "tests/integration/engine/test_sweeps_wait_for_contact.py::test_nobody_is_swept_before_a_whole_lease_of_unbroken_contact",
    ),
    Fault(
        "contact survives a failure",
        "service/stepgres_service/engine/contact.py",
        "self._since = None",
        "pass",
        "tests/integration/engine/test_sweeps_wait_for_contact.py::test_nobody_is_swept_before_a_whole_lease_of_unbroken_contact",
    ),
    Fault(
        "a sweep that hung takes tasks all the same",
        "migrations/1450_fn_sweep_sessions.sql",
        "if v_now - p_heard_at > p_max_silence_ms * interval '1 millisecond' then",
        "if false then",
        "tests/sql/sessions/test_a_sweep_that_comes_late_takes_nothing.py::test_a_sweep_that_comes_late_takes_nothing",
    ),
    # --------------------------------------------------------------------------------------- results on their way
    Fault(
        "a result is acknowledged before its commit",
        "service/stepgres_service/api/worker_servicer.py",
        "self._engine.completions.add(taken)",
        "self._engine.completions.add(taken); session.send_acks([AckItem(r.token, Verdict.RECORDED) for r in taken])",
        "tests/integration/engine/test_the_database_goes_away.py"
        "::test_a_request_that_never_arrived_is_recorded_when_it_is_sent_again",
    ),
    Fault(
        "a batch that was not sent is forgotten",
        "service/stepgres_service/engine/completions.py",
        "self._pending.extendleft(result for part in reversed(parts) for result in reversed(part.results))",
        "pass",
        "tests/integration/engine/test_the_database_goes_away.py"
        "::test_a_request_that_never_arrived_is_recorded_when_it_is_sent_again",
    ),
    Fault(
        "results pile up without a bound",
        "service/stepgres_service/engine/completions.py",
        "full = self.held_bytes > self._settings.max_held_bytes",
        "full = False",
        "tests/integration/engine/test_the_database_goes_away.py::test_an_outage_is_pushed_back_within_the_bound_and_drops_nothing",
    ),
    Fault(
        "a worker sends nothing again",
        "worker_sdk/python/stepgres_worker/_session.py",
        "self._outbox = deque(self.kept)",
        "self._outbox = deque()",
        f"{SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
    ),
    Fault(
        "a worker forgets results before their ack",
        "worker_sdk/python/stepgres_worker/_session.py",
        "outcome = kept.get(token)",
        "outcome = kept.pop(token, None)",
        f"{SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
    ),
    Fault(
        "a worker takes busy for an answer",
        "worker_sdk/python/stepgres_worker/_session.py",
        "elif verdict == worker_pb2.ACK_VERDICT_BUSY:",
        "elif verdict == -1:",
        f"{SDK_RESULT_TESTS}::test_busy_is_answered_later_with_the_same_result",
    ),
    Fault(
        "a worker asks for more than it has slots",
        "worker_sdk/python/stepgres_worker/_session.py",
        "granted = max(0, limit - self.credits)",
        "granted = max(0, limit)",
        "tests/unit/sdk/test_credits_are_never_exceeded.py::test_credits_that_are_out_are_not_granted_again",
    ),
    Fault(
        "a worker lists no results when it resumes",
        "worker_sdk/python/stepgres_worker/_session.py",
        "hello.held_tokens.extend(self.kept)",
        "pass",
        f"{SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
    ),
    Fault(
        "a stopping worker begins new tasks",
        "worker_sdk/python/stepgres_worker/_session.py",
        "if handler is None or self.stopping:",
        "if handler is None:",
        "tests/unit/sdk/test_draining_and_leaving.py::test_a_task_that_arrives_while_stopping_is_handed_back",
    ),
    Fault(
        "a worker says Goodbye before its acks",
        "worker_sdk/python/stepgres_worker/_session.py",
        "return not self.leases and not self.kept",
        "return not self.leases",
        "tests/unit/sdk/test_draining_and_leaving.py::test_goodbye_waits_for_the_acks",
    ),
    Fault(
        "a worker drops retry_after",
        "worker_sdk/python/stepgres_worker/_outcome.py",
        'retry_after_ms=_milliseconds(getattr(error, "retry_after_s", None)) if told else None,',
        "retry_after_ms=None,",
        "tests/unit/sdk/test_handlers_fail_in_known_ways.py::test_a_task_error_says_it_all",
    ),
    Fault(
        "executions share their scope",
        "worker_sdk/python/stepgres_worker/_execute.py",
        'return f"execute-{secrets.token_hex(16)}"',
        'return "execute"',
        "tests/unit/sdk/test_flows_are_executed_in_place.py::test_each_execution_has_a_scope_of_its_own",
    ),
    # ---------------------------------------------------------------------------------------------- starting runs
    Fault(
        "an idempotency key ignores the input",
        "migrations/1240_fn_start_runs.sql",
        "when r.workflow_id = u.workflow_id and r.input_hash = u.input_hash",
        "when r.workflow_id = u.workflow_id",
        "tests/sql/start_runs/test_each_item_is_judged_alone.py::test_a_key_gives_its_run_for_the_same_input_only",
    ),
    Fault(
        "a flow is deleted under its runs",
        "migrations/1130_fn_delete_flow.sql",
        "if cardinality(v_active) > 0 and not p_force then",
        "if false then",
        "tests/sql/delete_flow/test_a_deleted_flow_leaves_nothing.py::test_active_runs_keep_their_flow",
    ),
    # ------------------------------------------------------------------------------------------- around the engine
    Fault(
        "a Hello may list anything",
        "service/stepgres_service/api/worker_servicer.py",
        "refuse_crowded(first.hello)",
        "pass",
        "tests/integration/contract/test_bad_frames_end_at_most_their_stream.py::test_bad_frames_are_refused_by_name",
    ),
    Fault(
        "there may be any number of watches",
        "service/stepgres_service/engine/watch.py",
        "if self._watches >= self._max_watches:",
        "if self._watches < 0:",
        "tests/integration/runs/test_watches_follow_runs.py::test_no_more_watches_than_allowed_and_who_leaves_makes_room",
    ),
    Fault(
        "a watch that ends is counted on",
        "service/stepgres_service/engine/watch.py",
        "self._watches -= 1",
        "pass",
        "tests/integration/runs/test_watches_follow_runs.py::test_no_more_watches_than_allowed_and_who_leaves_makes_room",
    ),
    Fault(
        "a worker tries seldom while its session can be resumed",
        "worker_sdk/python/stepgres_worker/_worker.py",
        "cap_s = _RESUMING_CAP_S if resumable else _CAP_S",
        "cap_s = _CAP_S",
        "tests/unit/sdk/test_rare_moments_lose_nothing.py"
        "::test_tries_are_frequent_while_the_session_can_be_resumed_and_seldom_then",
    ),
    Fault(
        "a call that a leaving server had not begun is not repeated",
        "worker_sdk/python/stepgres_worker/_errors.py",
        '"CANCELLED": Unavailable,',
        "",
        "tests/unit/sdk/test_statuses_become_errors.py::test_a_call_that_a_leaving_server_had_not_begun_may_be_repeated",
    ),
    Fault(
        "a cancelled call leaves its connection as it is",
        "service/stepgres_service/store/pool.py",
        "except (asyncio.CancelledError, *LOST_STATEMENTS):",
        "except LOST_STATEMENTS:",
        "tests/integration/store/test_a_cancelled_call_leaves_no_trace.py"
        "::test_what_a_cut_pipeline_would_have_prepared_is_not_believed_to_be",
    ),
    Fault(
        "an outage is blamed on the routes",
        "service/stepgres_service/engine/dispatch.py",
        "group.failures += not away",
        "group.failures += 1",
        "tests/unit/engine/test_leases_find_their_streams.py::test_an_outage_is_no_fault_of_a_route",
    ),
    Fault(
        "results and the leases behind them are two transactions",
        "service/stepgres_service/store/tasks.py",
        "async with conn.pipeline():",
        "if True:",
        "tests/integration/store/test_an_exchange_is_one_transaction.py"
        "::test_a_lease_that_fails_takes_the_results_before_it_back",
    ),
)
