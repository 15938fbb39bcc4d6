"""Leases and queues: who gets which task, in which order."""

from __future__ import annotations

from tests.sabotage.faults.fault import FAILURE_TESTS, FENCE_TESTS, RESULT_TESTS, Fault

_ROUTE_TESTS = "tests/unit/engine/test_leases_find_their_streams.py"
_CREDIT_TESTS = "tests/integration/work/test_leases_follow_credits.py"

FAULTS = (
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
        f"{_CREDIT_TESTS}::test_no_task_comes_without_a_credit_and_never_more_than_granted",
    ),
    Fault(
        "leases begin at the first message of all",
        "service/stepgres_service/engine/dispatch.py",
        "hot.from_id = max(0, first_id - _LATE_IDS)",
        "hot.from_id = 0",
        f"{_ROUTE_TESTS}::test_leases_begin_a_margin_before_the_first_message_that_was_seen_last",
    ),
    Fault(
        "leases never go back to what was committed late",
        "service/stepgres_service/engine/dispatch.py",
        "hot.from_id = max(0, first_id - _LATE_IDS)",
        "hot.from_id = max(hot.from_id, first_id - _LATE_IDS)",
        "tests/integration/engine/test_leases_begin_where_work_waits.py"
        "::test_a_task_that_is_committed_long_after_its_message_was_numbered_comes_before_the_backlog_is_done",
    ),
    Fault(
        "a route turns cold before all of it was looked at",
        "service/stepgres_service/engine/dispatch.py",
        "if from_id:",
        "if False:",
        f"{_ROUTE_TESTS}::test_no_route_turns_cold_by_a_lease_that_did_not_look_at_everything",
    ),
    Fault(
        "what goes first is sought where the rest begins",
        "migrations/1300_fn_lease_tasks.sql",
        "array_agg(0::bigint) || array_agg(coalesce(u.from_id, 0) order by u.item) as from_ids",
        "array_agg(coalesce(u.from_id, 0)) || array_agg(coalesce(u.from_id, 0) order by u.item) as from_ids",
        "tests/sql/leases/test_each_route_has_its_beginning.py::test_what_goes_first_is_found_in_any_case",
    ),
    Fault(
        "routes mix up their beginnings",
        "migrations/1300_fn_lease_tasks.sql",
        "array_agg(0::bigint) || array_agg(coalesce(u.from_id, 0) order by u.item) as from_ids",
        "array_agg(0::bigint) || array_agg(coalesce(u.from_id, 0) order by -u.item) as from_ids",
        "tests/sql/leases/test_each_route_has_its_beginning.py::test_what_stands_before_the_beginning_of_its_route_stays",
    ),
    Fault(
        "statistics can make a lease read its queue by number",
        "migrations/1091_fn_take_statement.sql",
        "where ((q.message->>'k')::int, q.msg_id) >= (k.key, k.from_id) and (q.message->>'k')::int <= k.key",
        "where (q.message->>'k')::int between k.key and k.key and q.msg_id >= k.from_id",
        "tests/sql/leases/test_each_route_has_its_beginning.py::test_no_statistics_make_it_read_the_queue_by_number",
    ),
    Fault(
        "a lease steps over all that went before",
        "migrations/1091_fn_take_statement.sql",
        "where ((q.message->>'k')::int, q.msg_id) >= (k.key, k.from_id) and (q.message->>'k')::int <= k.key",
        "where (q.message->>'k')::int between k.key and k.key",
        "tests/sql/plans/test_a_lease_costs_its_batch.py"
        "::test_what_went_before_costs_nothing_behind_the_first_that_waits",
    ),
    Fault(
        "credits of a failed lease are not given back",
        "service/stepgres_service/engine/dispatch.py",
        "session.grant(credits)",
        "pass",
        f"{_ROUTE_TESTS}::test_a_failed_lease_gives_its_credits_back_and_keeps_its_routes_hot",
    ),
    Fault(
        "scopes share their routes",
        "migrations/1240_fn_start_runs.sql",
        "on r.queue_id = s.queue_id and r.scope = v_scopes[c.item] and r.handler = s.handler",
        "on r.queue_id = s.queue_id and r.scope = '' and r.handler = s.handler",
        f"{_CREDIT_TESTS}::test_a_scope_keeps_runs_to_the_sessions_that_subscribe_with_it",
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
)
