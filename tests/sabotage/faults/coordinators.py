"""What coordinators and SDKs carry: results on their way, runs that start, limits."""

from __future__ import annotations

from tests.sabotage.faults.fault import Fault

_SDK_RESULT_TESTS = "tests/unit/sdk/test_results_survive_the_stream.py"
_TROUBLE_TESTS = "tests/integration/engine/test_a_batch_meets_trouble.py"
_OUTAGE_TESTS = "tests/integration/engine/test_the_database_goes_away.py"

FAULTS = (
    # results on their way
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
        f"{_SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
    ),
    Fault(
        "a worker forgets results before their ack",
        "worker_sdk/python/stepgres_worker/_session.py",
        "outcome = kept.get(token)",
        "outcome = kept.pop(token, None)",
        f"{_SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
    ),
    Fault(
        "a worker takes busy for an answer",
        "worker_sdk/python/stepgres_worker/_session.py",
        "elif verdict == worker_pb2.ACK_VERDICT_BUSY:",
        "elif verdict == -1:",
        f"{_SDK_RESULT_TESTS}::test_busy_is_answered_later_with_the_same_result",
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
        f"{_SDK_RESULT_TESTS}::test_a_result_without_its_ack_is_sent_again_on_the_next_stream",
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
    # starting runs
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
    # around the engine
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
    Fault(
        "locked runs are tried one by one",
        "service/stepgres_service/engine/completions.py",
        "if not part.patient:  # runs were locked a moment ago",
        "if False:",
        f"{_TROUBLE_TESTS}::test_a_hundred_locked_runs_hold_up_no_other",
    ),
    Fault(
        "a busy run waits aside",
        "service/stepgres_service/engine/completions.py",
        "kept = {run_id for run_id, by in (await lane.locked_runs(locked)).items() if locked[run_id] == by}",
        "kept = {run_id for run_id, by in (await lane.locked_runs(locked)).items()}",
        f"{_TROUBLE_TESTS}::test_a_run_that_others_have_locked_in_turn_does_not_wait_aside",
    ),
    Fault(
        "others wait with what comes of a locked run",
        "service/stepgres_service/engine/completions.py",
        "elif self._doubtful and waiting is self._pending and run_of(result.token) in self._doubtful:",
        "elif False:",
        f"{_TROUBLE_TESTS}::test_what_comes_of_a_locked_run_meanwhile_waits_with_nobody",
    ),
    Fault(
        "what waits for a locked run takes all the room",
        "service/stepgres_service/engine/completions.py",
        "if result.acknowledge and 0 < self._aside_bytes > enough - result.held:",
        "if False:",
        f"{_TROUBLE_TESTS}::test_what_waits_for_a_locked_run_leaves_room_for_others",
    ),
    Fault(
        "a task goes back as often as it is found",
        "service/stepgres_service/engine/completions.py",
        "results = [r for r in results if r.outcome is not Outcome.UNDELIVERED or r.token not in self._returning]",
        "pass",
        f"{_TROUBLE_TESTS}::test_a_task_that_is_on_its_way_back_waits_there_once",
    ),
    Fault(
        "a lane waits for ever for an answer",
        "service/stepgres_service/store/lane.py",
        "async with asyncio.timeout(_ANSWER_S):",
        "if True:",
        f"{_OUTAGE_TESTS}::test_an_answer_that_never_comes_is_given_up",
    ),
    Fault(
        "a backend from before a restart is taken for ours",
        "service/stepgres_service/engine/work.py",
        "sender.renew()",
        "pass",
        f"{_OUTAGE_TESTS}::test_anothers_backend_with_the_number_of_one_of_ours_from_before_is_heard",
    ),
    Fault(
        "who comes next waits for a dead connection",
        "service/stepgres_service/store/own_connection.py",
        "self._slot = _Slot()  # for the next caller",
        "pass",
        "tests/integration/store/test_an_own_connection_is_given_up.py"
        "::test_the_next_caller_gets_another_connection_at_once",
    ),
    Fault(
        "a watch waits for a revision that was lost",
        "service/stepgres_service/engine/watch.py",
        "if change.revision < min(asked[change.run_id], watched.latest.revision):",
        "if False:",
        "tests/unit/engine/test_watches_share_one_loop.py::test_a_watch_ends_when_the_database_was_set_back",
    ),
)
