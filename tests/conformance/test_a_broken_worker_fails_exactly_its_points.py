"""Faults planted in the Python worker: each fails the points that are about it, by the right rule, and no other."""

from __future__ import annotations

import pytest

from stepgres_conformance.point import all_points
from tests.conformance.kit import broken, judged, planted

#: Fault -> points that fail, each with its rule; the whole kit looks at them.
WHOLE = {
    "exceeds_credits": {"credits-bounded": "R2.3", "credits-afresh": "R2.3", "volume": "R2.3"},
    "holds_slots": {"slots-refill": "R2.4"},
    "no_resend": {"result-resent": "R4.2", "frames-of-results": "R4.2", "coordinator-killed": "R4.2"},
    "ignores_cancel": {"cancel-stops": "R8.1"},
    "loses_precision": {"numbers-exact": "R3.2"},
    "drops_goodbye": {"stop-idle": "R11.4", "stop-busy": "R11.4"},
}
#: The same where the themes named first look at them, to save time.
THEMES = {
    "hides_its_version": ("greeting", {"hello-fields": "R1.3"}),
    "describes_nothing": ("greeting", {"catalogue": "R1.6"}),
    "speaks_before_welcome": ("greeting", {"hello-first": "R1.2"}),
    "believes_in_better_times": ("greeting", {"refused-for-good": "R1.7"}),
    "does_anything": ("values", {"unknown-handler": "R3.4"}),
    "executes_twice": ("values", {"task-twice": "R3.7"}),
    "executes_what_comes_late": ("resume", {"drain-late-tasks": "R10.4"}),
    "waits_for_a_coordinator": ("leaving", {"stop-alone": "R11.5"}),
    "cuts_texts": ("values", {"texts-exact": "R3.2"}),
    "forgets_outputs": ("values", {"input-of-steps": "R3.1"}),
    "counts_from_one": ("values", {"input-of-maps": "R3.1"}),
    "flattens_params": ("values", {"params": "R3.6"}),
    "has_a_limit_of_its_own": ("values", {"output-large": "R3.5"}),
    "knows_no_limit": ("values", {"output-too-large": "R3.5"}),
    "dies_of_invalid_output": ("values", {"output-invalid": "R3.5"}),
    "takes_small_messages": ("values", {"input-large": "R13.2"}),
    "takes_small_inputs": ("values", {"run-input-large": "R13.2"}),
    "asks_once_for_an_input": ("values", {"run-input-retried": "R3.8"}),
    "makes_inputs_up": ("values", {"run-input": "R3.8", "run-input-large": "R3.8"}),
    "asks_for_every_input": ("values", {"run-input-once": "R3.8"}),
    "keeps_progress_to_itself": ("values", {"progress": "R3.9"}),
    "hides_codes": ("failures", {"failure-retried": "R3.3", "failure-for-good": "R3.3", "retry-after": "R3.3"}),
    "retries_everything": ("failures", {"failure-for-good": "R3.3"}),
    "takes_seconds_for_milliseconds": ("failures", {"retry-after": "R3.3"}),
    "takes_zero_for_nothing": ("failures", {"retry-after": "R3.3"}),
    "hides_texts": ("failures", {"failure-default": "R3.3"}),
    "ignores_timeouts": ("failures", {"timeout": "R9.1"}),
    "frees_slots_by_acks": ("credits", {"slots-without-acks": "R2.4"}),
    "no_heartbeats": ("lease", {"heartbeats": "R6.1"}),
    "beats_half_as_often": ("lease", {"heartbeats": "R6.1"}),
    "ignores_ping": ("lease", {"ping": "R12.1"}),
    "dies_of_unknown_frames": ("lease", {"unknown-frames": "R12.2"}),
    "ignores_lost": ("stops resume", {"lease-lost-stops": "R8.2"}),
    "never_lets_go": ("stops resume", {"lease-lost-stops": "R8.2", "resume-refused": "R7.4"}),
    "stumbles_over_strangers": ("stops", {"stops-of-strangers": "R8.3"}),
    "keeps_results_of_the_session_before": ("stops resume", {"resume-refused": "R7.4"}),
    "forgets_what_it_sent": ("acks", {"result-resent": "R7.2", "ack-lost": "R7.2", "busy-resent": "R4.4"}),
    "keeps_stale": ("acks", {"verdicts-final": "R5.2"}),
    "keeps_what_it_does_not_know": ("acks", {"verdicts-final": "R12.2"}),
    "busy_at_once": ("acks", {"busy-resent": "R4.4"}),
    "large_frames": ("acks", {"frames-of-results": "R13.2"}),
    "makes_tokens_up": ("acks", {"tokens-opaque": "R5.1"}),
    "lists_nothing_as_held": (
        "acks resume",
        {"result-resent": "R7.2", "ack-lost": "R7.2", "resume": "R7.2", "drain": "R7.2"},
    ),
    "knocks_without_pause": ("resume", {"backoff": "R7.5"}),
    "dies_of_a_fault_of_its_own": ("resume", {"ended-streams": "R13.3"}),
    "throws_late_tasks_away": ("resume", {"drain-refused": "R10.4"}),
    "says_goodbye_to_a_draining_one": (
        "resume restarts",
        {"drain": "R10.3", "drain-late-tasks": "R10.3", "drain-refused": "R10.3", "coordinator-restart": "R10.3"},
    ),
    "ignores_drain": (
        "resume restarts",
        {"drain": "R10.1", "drain-late-tasks": "R10.1", "drain-refused": "R10.1", "coordinator-restart": "R10.1"},
    ),
    "closes_before_it_opens": (
        "resume restarts",
        {"drain": "R10.1", "drain-late-tasks": "R10.1", "drain-refused": "R10.1", "coordinator-restart": "R10.1"},
    ),
    "is_always_the_same": ("restarts", {"crash": "R1.3"}),
    "leaves_at_once": ("leaving", {"stop-busy": "R11.3"}),
    "ignores_late_tasks": ("leaving", {"stop-late-tasks": "R11.2"}),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", WHOLE)
def test_the_whole_kit_finds_the_fault_and_no_other(fault: str) -> None:
    answer = judged(planted(fault), "--tasks", "500")
    assert broken(answer) == WHOLE[fault], [point for point in answer["points"] if point["status"] == "failed"]
    assert len(answer["points"]) == len(all_points())


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", THEMES)
def test_its_theme_finds_the_fault_and_no_other(fault: str) -> None:
    themes, expected = THEMES[fault]
    answer = judged(planted(fault), "--only", themes, "--tasks", "500")
    assert broken(answer) == expected, [point for point in answer["points"] if point["status"] == "failed"]


def test_every_point_can_fail() -> None:
    found = {name for expected in WHOLE.values() for name in expected}
    found |= {name for _, expected in THEMES.values() for name in expected}
    assert found == {point.id for point in all_points()}
