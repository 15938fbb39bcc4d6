from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from stepgres_worker._plans import plan_request


def faults(plan: Any, path: str = "") -> list[str]:
    with pytest.raises(ValueError, match=":") as error:
        plan_request(plan, path)
    return str(error.value).split("\n")


def test_every_fault_is_told_at_once_with_its_path_and_remedy() -> None:
    document = {
        "stps": [],
        "max_attempts": "three",
        "new_version": 1,
        "steps": [
            {"slug": 7, "depend_on": ["a"], "depends_on": "a", "step_type": "mop"},
            "fetch",
            {"slug": "b", "timeout_s": 1.5, "base_delay_s": 2**31, "max_delay_s": True, "params": [1]},
            {"slug": "c", "depends_on": ["a", None, 5], "zzz": 1},
        ],
    }

    fields = "slug, depends_on, step_type, initial_tasks, handler, params, max_attempts, timeout_s, base_delay_s, max_delay_s, queue"
    whole = "a whole number (of 32 bits) is needed"
    assert faults(document) == [
        "stps: is unknown; did you mean 'steps'?",
        f'max_attempts: is "three"; {whole}',
        "new_version: is 1; true or false is needed",
        "steps[0].slug: is 7; a text is needed",
        "steps[0].depend_on: is unknown; did you mean 'depends_on'?",
        'steps[0].depends_on: is "a"; a list is needed',
        'steps[0].step_type: is "mop"; one of STEP_TYPE_SINGLE, STEP_TYPE_MAP is needed',
        'steps[1]: is "fetch"; an object is needed',
        f"steps[2].timeout_s: is 1.5; {whole}",
        f"steps[2].base_delay_s: is 2147483648; {whole}",
        f"steps[2].max_delay_s: is true; {whole}",
        "steps[2].params: is [1]; an object is needed",
        "steps[3].depends_on[1]: is null; a text is needed",
        "steps[3].depends_on[2]: is 5; a text is needed",
        f"steps[3].zzz: is unknown; the fields are {fields}",
    ]


def test_paths_begin_where_the_document_stands() -> None:
    assert faults({"steps": [{"slog": "a"}]}, "plan") == ["plan.steps[0].slog: is unknown; did you mean 'slug'?"]
    assert faults({"steps": {"slug": "a"}}, "plan") == ['plan.steps: is {"slug": "a"}; a list is needed']


def test_what_proto_json_takes_is_taken() -> None:
    step = {"slug": "a", "timeout_s": "5", "maxAttempts": 2.0, "step_type": 2, "params": {"x": None}}

    request = plan_request({"steps": [step], "max_attempts": None})

    (made,) = request.steps
    assert (made.timeout_s, made.max_attempts, made.step_type) == (5, 2, 2)
    assert not request.HasField("max_attempts")


def test_params_hold_what_json_holds() -> None:
    params = {"when": [date(2024, 1, 31)], "deep": {"raw": b"x", "fine": [None, True, 1.5, "x"], "keys": {1: 2}}}

    has_not = "which JSON has not; a text is needed, or another JSON value"
    assert faults({"steps": [{"slug": "a", "params": params}]}) == [
        f'steps[0].params.when[0]: is "datetime.date(2024, 1, 31)", {has_not}',
        f"steps[0].params.deep.raw: is \"b'x'\", {has_not}",
        "steps[0].params.deep.keys: has the key 1; keys of JSON are texts, quote it",
    ]


def test_a_long_value_is_cut_in_the_message() -> None:
    (fault,) = faults({"steps": "x" * 5000})

    assert len(fault) < 200


def test_half_a_surrogate_pair_is_no_text() -> None:
    whole = "a text without halves of surrogate pairs is needed"
    assert faults({"slug": "a\ud800", "steps": [{"slug": "b", "params": {"x": "\udc00"}}]}) == [
        rf'slug: is "a\ud800"; {whole}',
        rf'steps[0].params.x: is "\udc00"; {whole}',
    ]
