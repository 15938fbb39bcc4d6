"""The kind of every field that a unary rpc reads, and the cases that differ from their kind."""

from __future__ import annotations

from tests.integration.contract.mutations import INT32_MAX
from tests.integration.contract.table import (
    BOOL,
    FLOW,
    INPUT,
    INVALID,
    LONG,
    NEW_SLUG,
    OK,
    OPTIONAL_SLUG,
    PAGE_SIZE,
    PARAMS,
    REQUIRED,
    RUN_ID,
    STEP,
    TIME,
    VERSION,
    VIEW,
    Answer,
    Kind,
    enum,
    invalid,
    more,
    not_found,
    number,
    page_token,
    reference,
    text,
)

_HANDLER = invalid("INVALID_HANDLER")
_UNKNOWN = invalid("UNKNOWN_DEPENDENCY")
_NO_LEASE = not_found("INVALID_TOKEN")
_ATTEMPTS, _TIMEOUT = number(1, 1000), number(1, 2_592_000)
_BASE_DELAY, _MAX_DELAY = number(0, 86_400), number(0, 604_800)
_LIST = Kind({"missing": OK})
_PARTS = Kind({"missing": OK, "empty": OK})
_ELEMENT = Kind({})


FIELDS: dict[str, Kind] = {
    "CreateFlowRequest.slug": NEW_SLUG,
    "CreateFlowRequest.steps": more(
        _LIST,
        too_many=(lambda world: world.steps(2001), invalid("TOO_MANY_STEPS")),
        most=(lambda world: world.steps(2000), OK),
        the_same_twice=(lambda world: world.steps(1) * 2, invalid("DUPLICATE_STEP", "steps[1].slug")),
        with_too_many_dependencies=(
            lambda world: world.steps(1, depends_on=2001),
            invalid("TOO_MANY_DEPENDENCIES", "steps[0].depends_on"),
        ),
        in_a_circle=(lambda world: world.circle(), invalid("DEPENDENCY_CYCLE", "steps[2].depends_on[0]")),
    ),
    "CreateFlowRequest.steps[]": _ELEMENT,
    "CreateFlowRequest.max_attempts": _ATTEMPTS,
    "CreateFlowRequest.timeout_s": _TIMEOUT,
    "CreateFlowRequest.base_delay_s": _BASE_DELAY,
    "CreateFlowRequest.max_delay_s": _MAX_DELAY,
    "CreateFlowRequest.queue": OPTIONAL_SLUG,
    "CreateFlowRequest.new_version": BOOL,
    "StepDefinition.slug": NEW_SLUG,
    "StepDefinition.depends_on": more(
        _LIST,
        two_of_a_map=(["root", "root"], invalid("MAP_DEPENDENCIES")),
    ),
    "StepDefinition.depends_on[]": more(
        Kind({name: answer for name, answer in text(_UNKNOWN, _UNKNOWN).answers.items() if name != "missing"}),
        unknown=("nowhere", _UNKNOWN),
        other_case=("ROOT", _UNKNOWN),
    ),
    "StepDefinition.step_type": Kind(
        enum("STEP_TYPE_MAP").answers
        | dict.fromkeys(
            ["missing", "STEP_TYPE_UNSPECIFIED", "STEP_TYPE_SINGLE"],
            invalid("INITIAL_TASKS_ON_SINGLE", "initial_tasks"),
        )
    ),
    "StepDefinition.initial_tasks": number(0, INT32_MAX),
    "StepDefinition.handler": more(
        text(OK, _HANDLER),
        a_slash=("a/b", _HANDLER),
        a_digit_first=("1a", _HANDLER),
        a_line_end=("a\n", _HANDLER),
        longest=("h" * 260, OK),
        too_long=("h" * 261, _HANDLER),
    ).but(**{"129_characters": OK}),
    "StepDefinition.params": PARAMS,
    "StepDefinition.max_attempts": _ATTEMPTS,
    "StepDefinition.timeout_s": _TIMEOUT,
    "StepDefinition.base_delay_s": _BASE_DELAY,
    "StepDefinition.max_delay_s": _MAX_DELAY,
    "StepDefinition.queue": OPTIONAL_SLUG,
    "ValidateFlowRequest.inline": BOOL,
    "ValidateFlowRequest.flow": Kind(dict.fromkeys(["missing", "empty"], invalid("FIELD_REQUIRED", "flow.slug"))),
    "AddStepRequest.flow": FLOW,
    "AddStepRequest.step": Kind({"missing": REQUIRED, "empty": invalid("FIELD_REQUIRED", "step.slug")}),
    "GetFlowRequest.flow": FLOW,
    "GetFlowRequest.version": VERSION,
    "ListFlowsRequest.page_size": PAGE_SIZE,
    "ListFlowsRequest.page_token": page_token("ListFlows", "ListHandlers"),
    "ListFlowsRequest.slug_prefix": more(text(OK, LONG, other=OK), longest=("p" * 128, OK), wildcards=("%_\\", OK)),
    "ListFlowsRequest.view": VIEW,
    "DeleteFlowRequest.flow": FLOW,
    "DeleteFlowRequest.force": BOOL,
    "ListHandlersRequest.page_size": PAGE_SIZE,
    "ListHandlersRequest.page_token": page_token("ListHandlers", "ListFlows"),
    "ListHandlersRequest.name_prefix": more(
        text(OK, LONG, longest=260, other=OK), longest=("p" * 260, OK), wildcards=("%_\\", OK)
    ),
    "StartRunRequest.flow": FLOW,
    "StartRunRequest.plan": _PARTS,
    "StartRunRequest.version": VERSION,
    "StartRunRequest.input": INPUT,
    "StartRunRequest.idempotency_key": more(
        text(OK, LONG, other=OK),
        longest=("k" * 128, OK),
        of_another_input=("taken", Answer("ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED")),
    ),
    "StartRunRequest.scope": more(text(OK, LONG, other=OK), longest=("s" * 128, OK)),
    "StartRunsRequest.requests": more(
        Kind({"missing": REQUIRED}),
        too_many=(lambda world: world.starts(1001), LONG),
        most=(lambda world: world.starts(1000), OK),
    ),
    "StartRunsRequest.requests[]": _ELEMENT,
    "GetRunRequest.run_id": RUN_ID,
    "GetRunRequest.view": VIEW,
    "ListRunsRequest.page_size": PAGE_SIZE,
    "ListRunsRequest.page_token": page_token("ListRuns", "ListTasks"),
    "ListRunsRequest.flow": reference(OK, required=False),
    "ListRunsRequest.version": number(0, INT32_MAX),
    "ListRunsRequest.status": enum(
        "RUN_STATUS_UNSPECIFIED",
        "RUN_STATUS_STARTED",
        "RUN_STATUS_COMPLETED",
        "RUN_STATUS_FAILED",
        "RUN_STATUS_CANCELLED",
    ),
    "ListRunsRequest.start_time_min": TIME,
    "ListRunsRequest.start_time_max": TIME,
    "ListRunsRequest.view": VIEW,
    "ListTasksRequest.run_id": RUN_ID,
    "ListTasksRequest.step": reference(not_found("STEP_NOT_FOUND"), required=False),
    "ListTasksRequest.status": enum(
        "TASK_STATUS_UNSPECIFIED",
        "TASK_STATUS_QUEUED",
        "TASK_STATUS_STARTED",
        "TASK_STATUS_COMPLETED",
        "TASK_STATUS_FAILED",
        "TASK_STATUS_CANCELLED",
        "TASK_STATUS_SKIPPED",
    ),
    "ListTasksRequest.page_size": PAGE_SIZE,
    "ListTasksRequest.page_token": page_token("ListTasks", "ListRuns"),
    "ListTasksRequest.view": VIEW,
    "GetTaskRequest.run_id": RUN_ID.but(of_another_flow=not_found("STEP_NOT_FOUND", "step")),
    "GetTaskRequest.step": more(STEP, without_tasks_yet=("c", not_found("TASK_NOT_FOUND", "task_index"))),
    "GetTaskRequest.task_index": number(0, 0, beyond=not_found("TASK_NOT_FOUND")),
    "WatchRunRequest.run_id": RUN_ID,
    "WatchRunRequest.cursor": more(
        text(OK, invalid("INVALID_CURSOR"), nul=invalid("INVALID_CURSOR")),
        its_own=(lambda world: world.cursor, OK),
        of_another_run=(lambda world: world.other_cursor, invalid("INVALID_CURSOR")),
        cut_off=(lambda world: world.cursor[:-3], invalid("INVALID_CURSOR")),
    ),
    "WatchRunRequest.view": VIEW,
    "CancelRunRequest.run_id": RUN_ID,
    "CancelRunRequest.reason": more(text(OK, LONG, longest=300, other=OK), longest=("r" * 1000, OK)),
    "RetryRunRequest.run_id": RUN_ID,
    "ListWorkersRequest.page_size": PAGE_SIZE,
    "ListWorkersRequest.page_token": page_token("ListWorkers", "ListQueues"),
    "ListQueuesRequest.page_size": PAGE_SIZE,
    "ListQueuesRequest.page_token": page_token("ListQueues", "ListWorkers"),
    "GetRunInputRequest.token": more(
        Kind({"missing": REQUIRED, "empty": REQUIRED, "random": _NO_LEASE, "9000 bytes": _NO_LEASE}),
        of_another_session=(lambda world: world.other_token, OK),  # It proves its own lease, of its own run.
        of_mixed_sessions=(lambda world: world.other_token[:16] + world.token[16:], _NO_LEASE),
        of_a_task_that_ended=(lambda world: world.ended_token, _NO_LEASE),
        of_zeros=(lambda world: bytes(len(world.token)), _NO_LEASE),
        of_ones=(lambda world: b"\xff" * len(world.token), _NO_LEASE),
        ending_in_ones=(lambda world: world.token[:32] + b"\xff" * (len(world.token) - 32), _NO_LEASE),
        cut_off=(lambda world: world.token[:-1], _NO_LEASE),
        too_long=(lambda world: world.token + b"\0", _NO_LEASE),
    ),
}

#: (valid request, path, mutation) -> answer, where it is not that of the field's kind.
EXCEPTIONS: dict[tuple[str, str, str], Answer] = {}


def _except(valid: str, path: str, *mutations: str, answer: Answer) -> None:
    EXCEPTIONS.update({(valid, path, mutation): answer for mutation in mutations})


# The token of the list without filters is that of another one.
for _valid in ("ListFlows of a prefix", "ListHandlers of a prefix", "ListRuns of a flow", "ListTasks of a step"):
    _except(_valid, "page_token", "its own", answer=invalid("INVALID_PAGE_TOKEN"))
# Without a flow a version is one of nothing.
_except("ListRuns", "version", "highest", "greatest", "-1", "least", answer=INVALID)
_except("ListRuns of a flow", "flow", "missing", "empty", "wrong wire type", answer=invalid("FIELD_INVALID", "version"))
_except("ListTasks of a step", "run_id", "of another flow", answer=not_found("STEP_NOT_FOUND", "step"))

# A plan has no slug, queue and versions of its own, whether it is run or only judged, and its keys are those of all plans.
for _valid, _path in (("StartRun of a plan", "plan"), ("ValidateFlow of a plan", "flow")):
    _except(_valid, f"{_path}.slug", "missing", "empty", "wrong wire type", answer=OK)
    _except(
        _valid, f"{_path}.slug", "a dash", "a digit first", "the reserved run", "a line end", "not ASCII",
        *(f"{length} characters" for length in (128, 129, 300, 9000)), answer=INVALID,
    )  # fmt: skip
    _except(_valid, f"{_path}.queue", "128 characters", answer=INVALID)
    _except(_valid, f"{_path}.steps[0].queue", "128 characters", answer=INVALID)
    _except(_valid, f"{_path}.new_version", "true", answer=INVALID)
_except("StartRun of a plan", "plan", "missing", "wrong wire type", answer=invalid("FIELD_REQUIRED", "/flow"))
_except("StartRun of a plan", "version", "highest", "above", "greatest", answer=INVALID)
_except("StartRun of a plan", "idempotency_key", "of another input", answer=OK)
_except("ValidateFlow of a plan", "flow", "missing", "empty", "wrong wire type", answer=OK)
_except(
    "ValidateFlow of a plan", "inline", "missing", "false", "wrong wire type",
    answer=invalid("FIELD_REQUIRED", "/flow.slug"),
)  # fmt: skip
_except("ValidateFlow", "inline", "true", answer=invalid("FIELD_INVALID", "/flow.slug"))
