"""Sessions: what they hold, and what becomes of it when they go."""

from __future__ import annotations

from tests.sabotage.faults.fault import SESSION_TESTS, STREAM_TESTS, Fault

FAULTS = (
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
)
